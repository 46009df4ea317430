//! The command line.

use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};

use crate::measure::Measurement;

/// Measures taskstatsd and its peers on this machine.
#[derive(Debug, Parser)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Args {
    /// The role of this process, if the suite has started it.
    #[command(subcommand)]
    pub(crate) role: Option<Role>,
    #[command(flatten)]
    pub(crate) suite: SuiteArgs,
}

/// The measurements, and their duration.
#[derive(Debug, clap::Args)]
pub(crate) struct SuiteArgs {
    /// The measurements to run.
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = Measurement::ALL)]
    pub(crate) only: Vec<Measurement>,
    /// Run for about a minute, to see that everything works; its figures are not accurate.
    #[arg(long)]
    pub(crate) quick: bool,
    /// Rounds; each runs every variant once [default: 5].
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) rounds: Option<u32>,
    /// The duration of each variant in a round, in seconds [default: 2].
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) seconds: Option<u32>,
    /// The duration of the measurement of losses at full speed, in seconds [default: 60].
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) lost_seconds: Option<u32>,
    /// The silence that the measurement of wake-ups observes, in seconds [default: 60].
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) idle_seconds: Option<u32>,
    /// The file for the figures of every round, as JSON.
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// The agent's binary; by default the one beside this program.
    #[arg(long, value_name = "FILE")]
    pub(crate) agent: Option<PathBuf>,
}

/// A separate process, so that its CPU time can be measured.
#[derive(Debug, Subcommand)]
pub(crate) enum Role {
    /// Attacks an agent until the input ends.
    Attack(AttackArgs),
    /// Runs an agent until the input ends, also when that is because the suite was killed.
    Host(HostArgs),
    /// Makes threads exit, then prints their number and the time.
    Load(LoadArgs),
    /// Listens to the kernel and only counts, until its input ends.
    Listen(ListenArgs),
    /// Reads the whole history of an agent, then prints how fast that was.
    Replay(ReplayArgs),
    /// Subscribes to an agent and only counts, until its input ends.
    Watch(WatchArgs),
}

/// Attackers of an agent.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct AttackArgs {
    /// What they do.
    #[arg(long, value_enum)]
    pub(crate) attack: Attack,
    /// The agent's address: `unix:///path` or `tcp://host:port`.
    #[arg(long)]
    pub(crate) address: String,
    /// The number of connections.
    #[arg(long)]
    pub(crate) connections: u32,
}

/// A kind of attack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Attack {
    /// PING frames without end, on a port.
    Pings,
    /// SETTINGS frames without end, on a port.
    Settings,
    /// Replays of the whole history, again and again.
    Replays,
}

impl Attack {
    /// The value on the command line.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Pings => "pings",
            Self::Settings => "settings",
            Self::Replays => "replays",
        }
    }
}

/// An agent to run.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct HostArgs {
    /// The agent's binary.
    pub(crate) binary: PathBuf,
    /// Its settings beyond the address.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) settings: Vec<String>,
}

/// A load of exiting threads.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct LoadArgs {
    /// For how long, in seconds.
    #[arg(long)]
    pub(crate) seconds: u32,
    /// Exits a second in all; without it, as many as one spawner on each CPU can make.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) rate: Option<u32>,
    /// Have each thread write the time into its name just before it exits.
    #[arg(long)]
    pub(crate) stamp: bool,
}

/// A listener that discards what it receives.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct ListenArgs {
    /// The way to receive.
    #[arg(long, value_enum)]
    pub(crate) pace: Pace,
    /// Read the stamps of exited threads and report their age.
    #[arg(long)]
    pub(crate) stamp: bool,
}

/// The way in which a listener receives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Pace {
    /// One socket for all CPUs and one message for each wake-up, like the kernel's own example.
    Plain,
    /// A socket for each CPU, drained with `recvmmsg` every 2 ms: the least that can be paid.
    Paced,
}

impl Pace {
    /// The value on the command line.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Paced => "paced",
        }
    }
}

/// Subscribers of an agent.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct WatchArgs {
    /// The agent's address: `unix:///path`, or with certificates `tcp://host:port`.
    #[arg(long)]
    pub(crate) address: String,
    /// A directory with ca.crt, client.crt and client.key, to connect by mutual TLS.
    #[arg(long, value_name = "DIRECTORY")]
    pub(crate) certificates: Option<PathBuf>,
    /// The number of watchers, each on a separate connection.
    #[arg(long, default_value_t = 1)]
    pub(crate) watchers: u32,
    /// Decode the events, read the stamps of exited threads and report their age.
    #[arg(long)]
    pub(crate) stamp: bool,
}

/// A reader of an agent's history.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct ReplayArgs {
    /// The agent's address, `unix:///path`.
    #[arg(long)]
    pub(crate) address: String,
    /// The sequence to read to.
    #[arg(long)]
    pub(crate) until: u64,
    /// The treatment of the events.
    #[arg(long, value_enum)]
    pub(crate) reading: Reading,
}

/// The treatment of events by a reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Reading {
    /// Counts them without decoding them.
    Count,
    /// Has the client library decode every field.
    Decode,
}

impl Reading {
    /// Each way to read.
    pub(crate) const ALL: [Self; 2] = [Self::Count, Self::Decode];

    /// The value on the command line.
    pub(crate) const fn argument(self) -> &'static str {
        match self {
            Self::Count => "count",
            Self::Decode => "decode",
        }
    }

    /// The name in figures.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Count => "only counted",
            Self::Decode => "decoded by the client library",
        }
    }
}
