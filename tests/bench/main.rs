//! `taskstats-bench`: the cost and the speed of taskstatsd, compared with peers on the same
//! machine.
//!
//! Figures differ between machines, and on a noisy machine from minute to minute. So every round
//! runs all variants one after the other, ratios are computed within a round, and the report has
//! the medians over the rounds.

mod agent;
mod args;
mod attack;
mod control;
mod cpus;
mod effort;
mod goals;
mod host;
mod listener;
mod load;
mod measure;
mod netlink;
mod number;
mod procfs;
mod recording;
mod replay;
mod report;
mod session;
mod stamp;
mod summary;
mod synthetic;
mod tally;
mod watch;
mod worker;

use std::fs;

use anyhow::{Context, Result, ensure};
use clap::Parser;

use crate::args::{Args, Role, SuiteArgs};
use crate::effort::Effort;
use crate::goals::GOALS;
use crate::measure::Bench;
use crate::report::{Machine, Report};
use crate::summary::Summary;

fn main() -> Result<()> {
    let args = Args::parse();
    match &args.role {
        None => suite(&args.suite),
        Some(Role::Attack(attack)) => attack::run(attack),
        Some(Role::Host(host)) => host::run(host),
        Some(Role::Load(load)) => load::run(load),
        Some(Role::Listen(listen)) => listener::run(listen),
        Some(Role::Replay(replay)) => replay::run(replay),
        Some(Role::Watch(watch)) => watch::run(watch),
    }
}

fn suite(args: &SuiteArgs) -> Result<()> {
    let effort = Effort::of(args);
    let bench = Bench::new(args, effort)?;
    let mut report = Report::new(machine(effort)?);
    let mut failures = 0;
    for round in 0..effort.rounds {
        for measurement in args.only.iter().filter(|measurement| measurement.runs_in(round)) {
            eprintln!("round {} of {}: {}", round + 1, effort.rounds, measurement.name());
            let mut figures = Report::default();
            let outcome = measurement.round(&bench, round, &mut figures);
            note(&mut failures, outcome.map(|()| report.absorb(figures)));
        }
    }
    for measurement in &args.only {
        note(&mut failures, measurement.relate(&mut report));
    }
    let summary = Summary::new(&GOALS, &report);
    print!("{}\n{}", report.markdown(), summary.markdown());
    if let Some(file) = &args.json {
        fs::write(file, report.json(&summary)?)
            .with_context(|| format!("write {}", file.display()))?;
    }
    ensure!(failures == 0, "{failures} measurements failed, and are missing above");
    Ok(())
}

/// Prints a failure at once. The other measurements are still reported.
fn note(failures: &mut u32, outcome: Result<()>) {
    if let Err(error) = outcome {
        eprintln!("taskstats-bench: {error:#}");
        *failures += 1;
    }
}

fn machine(effort: Effort) -> Result<Machine> {
    const RELEASE: &str = "/proc/sys/kernel/osrelease";
    let kernel = fs::read_to_string(RELEASE).with_context(|| format!("read {RELEASE}"))?;
    Ok(Machine { kernel: kernel.trim().to_owned(), cpus: cpus::online_list()?, effort })
}
