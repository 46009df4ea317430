//! `taskstats-bench`: what taskstatsd costs and how fast it is, beside peers on the same machine.
//!
//! A figure of one machine means nothing on another one, and on a noisy one it means nothing a
//! minute later. So every round runs all variants after one another, ratios are taken within a
//! round, and what is printed are medians over the rounds.

mod agent;
mod args;
mod control;
mod cpus;
mod host;
mod listener;
mod load;
mod measure;
mod netlink;
mod number;
mod procfs;
mod report;
mod session;
mod stamp;
mod tally;
mod watch;
mod worker;

use std::fs;

use anyhow::{Context, Result};
use clap::Parser;

use crate::args::{Args, Role, SuiteArgs};
use crate::measure::Bench;
use crate::report::{Machine, Report};

fn main() -> Result<()> {
    let args = Args::parse();
    match &args.role {
        None => suite(&args.suite),
        Some(Role::Host(host)) => host::run(host),
        Some(Role::Load(load)) => load::run(load),
        Some(Role::Listen(listen)) => listener::run(listen),
        Some(Role::Watch(watch)) => watch::run(watch),
    }
}

fn suite(args: &SuiteArgs) -> Result<()> {
    let bench = Bench::new(args)?;
    let mut report = Report::new(machine(args)?);
    for round in 0..args.rounds {
        for measurement in &args.only {
            eprintln!("round {} of {}: {}", round + 1, args.rounds, measurement.name());
            measurement.round(&bench, round, &mut report)?;
        }
    }
    for measurement in &args.only {
        measurement.relate(&mut report)?;
    }
    print!("{}", report.markdown());
    if let Some(file) = &args.json {
        fs::write(file, report.json()?).with_context(|| format!("write {}", file.display()))?;
    }
    Ok(())
}

fn machine(args: &SuiteArgs) -> Result<Machine> {
    const RELEASE: &str = "/proc/sys/kernel/osrelease";
    let kernel = fs::read_to_string(RELEASE).with_context(|| format!("read {RELEASE}"))?;
    Ok(Machine {
        kernel: kernel.trim().to_owned(),
        cpus: cpus::online_list()?,
        seconds: args.seconds,
    })
}
