//! The cost of an exit at full speed, its effect on the workload, and losses.

use anyhow::Result;

use super::{Bench, rotated};
use crate::args::Pace;
use crate::load::Made;
use crate::number::{float, microseconds};
use crate::report::Report;
use crate::session::{Load, Observed, Observer, Session};

/// The name in figures.
pub(super) const NAME: &str = "exits";

const UNWATCHED: &str = "unwatched";
const OBSERVERS: [Option<Observer>; 4] = [
    None,
    Some(Observer::Peer(Pace::Plain)),
    Some(Observer::Peer(Pace::Paced)),
    Some(Observer::Agent { watchers: 1 }),
];

pub(super) fn round(bench: &Bench, round: u32, report: &mut Report) -> Result<()> {
    let load = Load { seconds: bench.seconds(), rate: None, stamp: false };
    for observer in rotated(&OBSERVERS, round) {
        match observer {
            None => record_speed(report, UNWATCHED, load.run()?),
            Some(observer) => {
                let observed = Session::observe(bench, observer, load)?;
                record_speed(report, observer.name(), observed.made);
                record(report, observer, observed);
            }
        }
    }
    Ok(())
}

pub(super) fn relate(report: &mut Report) -> Result<()> {
    for [name, peer] in [["taskstatsd", "plain"], ["taskstatsd", "paced"], ["plain", "paced"]] {
        report.relate(NAME, &cost(name), &cost(peer))?;
    }
    for name in ["plain", "paced", "taskstatsd"] {
        report.relate(NAME, &speed(name), &speed(UNWATCHED))?;
    }
    report.relate(NAME, &speed("taskstatsd"), &speed("paced"))?;
    report.relate(NAME, &size("taskstatsd"), &size("plain"))
}

fn record_speed(report: &mut Report, name: &str, made: Made) {
    let per_second = float(made.exits) / made.seconds;
    report.record(NAME, speed(name), "exits/s", per_second);
}

fn record(report: &mut Report, observer: Observer, observed: Observed) {
    let Observed { made, cpu, count } = observed;
    let name = observer.name();
    report.record(NAME, cost(name), "µs", microseconds(cpu) / float(made.exits));
    report.record(NAME, format!("missed, {name}"), "exits", float(count.missed(made.exits)));
    if let Observer::Agent { .. } = observer {
        report.record(NAME, "reported as lost", "exits", float(count.lost));
        report.record(
            NAME,
            "missed and not reported",
            "exits",
            float(count.unreported(made.exits)),
        );
    }
    let each = float(count.bytes) / float(count.events.max(1));
    report.record(NAME, size(name), "bytes", each);
}

fn cost(name: &str) -> String {
    format!("CPU an exit, {name}")
}

fn speed(name: &str) -> String {
    format!("workload, {name}")
}

fn size(name: &str) -> String {
    format!("size of an exit, {name}")
}
