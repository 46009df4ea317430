//! The measurements.

pub(crate) mod attacks;
mod exits;
mod growth;
mod history;
mod idle;
mod latency;
mod lost;
mod options;
mod query;
pub(crate) mod sandbox;
mod stall;
mod tls;
mod watchers;

use std::env;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use clap::ValueEnum;

use crate::args::SuiteArgs;
use crate::effort::Effort;
use crate::report::Report;

/// A measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Measurement {
    /// Losses at full speed, once for longer than a round.
    Lost,
    /// Wake-ups with nothing to do, once for longer than a round.
    Idle,
    /// Cost of an exit, and speed of the workload, at full speed.
    Exits,
    /// Time from an exit to the client.
    Latency,
    /// Losses of an observer that is stopped for a while.
    Stall,
    /// Cost of further watchers.
    Watchers,
    /// `GetPid` compared with a health check.
    Query,
    /// `GetPid` with and without the sandbox.
    Sandbox,
    /// Memory at rest and with a full history, and how fast that is replayed.
    History,
    /// Cost of an exit with many CPUs.
    Growth,
    /// Cost of TLS compared with a unix socket, and handshakes.
    Tls,
    /// Cost of attribution and of redaction.
    Options,
    /// Latency of a health check while others attack the agent.
    Attacks,
}

/// The data that all measurements need.
#[derive(Debug)]
pub(crate) struct Bench {
    agent: PathBuf,
    effort: Effort,
}

impl Bench {
    /// Creates it from the settings of a run.
    ///
    /// # Errors
    /// There is no agent to measure.
    pub(crate) fn new(args: &SuiteArgs, effort: Effort) -> Result<Self> {
        let agent = match &args.agent {
            Some(agent) => agent.clone(),
            None => env::current_exe().context("find this binary")?.with_file_name("taskstatsd"),
        };
        ensure!(agent.is_file(), "no agent at {}: build it, or name it", agent.display());
        Ok(Self { agent, effort })
    }

    /// The agent's binary.
    pub(crate) fn agent(&self) -> &Path {
        &self.agent
    }

    /// The duration of each variant in a round, in seconds.
    pub(crate) const fn seconds(&self) -> u32 {
        self.effort.seconds
    }

    /// The duration of the measurement of losses, in seconds.
    pub(crate) const fn lost_seconds(&self) -> u32 {
        self.effort.lost_seconds
    }

    /// The silence that is observed, in seconds.
    pub(crate) const fn idle_seconds(&self) -> u32 {
        self.effort.idle_seconds
    }
}

impl Measurement {
    /// Everything, in the order in which it is run.
    pub(crate) const ALL: [Self; 13] = [
        Self::Lost,
        Self::Idle,
        Self::Exits,
        Self::Latency,
        Self::Stall,
        Self::Watchers,
        Self::Query,
        Self::Sandbox,
        Self::History,
        Self::Growth,
        Self::Tls,
        Self::Options,
        Self::Attacks,
    ];

    /// The name in figures and on the command line.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Lost => lost::NAME,
            Self::Idle => idle::NAME,
            Self::Exits => exits::NAME,
            Self::Latency => latency::NAME,
            Self::Stall => stall::NAME,
            Self::Watchers => watchers::NAME,
            Self::Query => query::NAME,
            Self::Sandbox => sandbox::NAME,
            Self::History => history::NAME,
            Self::Growth => growth::NAME,
            Self::Tls => tls::NAME,
            Self::Options => options::NAME,
            Self::Attacks => attacks::NAME,
        }
    }

    /// Returns true if the measurement runs in each round; long ones run once.
    pub(crate) fn runs_in(self, round: u32) -> bool {
        round == 0 || !matches!(self, Self::Lost | Self::Idle)
    }

    /// Runs every variant once.
    pub(crate) fn round(self, bench: &Bench, round: u32, report: &mut Report) -> Result<()> {
        match self {
            Self::Lost => lost::once(bench, report),
            Self::Idle => idle::once(bench, report),
            Self::Exits => exits::round(bench, round, report),
            Self::Latency => latency::round(bench, round, report),
            Self::Stall => stall::round(bench, round, report),
            Self::Watchers => watchers::round(bench, round, report),
            Self::Query => query::round(bench, report),
            Self::Sandbox => sandbox::round(bench, round, report),
            Self::History => history::round(bench, round, report),
            Self::Growth => growth::round(bench, round, report),
            Self::Tls => tls::round(bench, round, report),
            Self::Options => options::round(bench, round, report),
            Self::Attacks => attacks::round(bench, report),
        }
        .with_context(|| format!("measure {}", self.name()))
    }

    /// Relates the figures to those of their peers.
    pub(crate) fn relate(self, report: &mut Report) -> Result<()> {
        match self {
            Self::Exits => exits::relate(report),
            Self::Latency => latency::relate(report),
            Self::Lost | Self::Idle | Self::Stall => Ok(()),
            Self::Watchers => watchers::relate(report),
            Self::Query => query::relate(report),
            Self::Sandbox => sandbox::relate(report),
            Self::History => history::relate(report),
            Self::Growth => growth::relate(report),
            Self::Tls => tls::relate(report),
            Self::Options => options::relate(report),
            Self::Attacks => attacks::relate(report),
        }
    }
}

/// Returns the variants in another order for each round, so that their order favours none.
fn rotated<T: Copy>(variants: &[T], round: u32) -> Vec<T> {
    let mut order = variants.to_vec();
    let shift = usize::try_from(round).unwrap_or(0) % order.len().max(1);
    order.rotate_left(shift);
    order
}
