//! The cost of a further watcher.

use anyhow::Result;

use super::{Bench, rotated};
use crate::number::{float, microseconds};
use crate::report::Report;
use crate::session::{Load, Observer, Session};

/// The name in figures.
pub(super) const NAME: &str = "watchers";

/// As many as a busy node may have, and enough to make one's share exact.
const MANY: u32 = 100;
/// Leaves CPU time for a client that reads a hundred streams.
const RATE: u32 = 20_000;
const FIRST: &str = "CPU an exit of the first watcher";
const FURTHER: &str = "CPU an exit of each further of 100 watchers";
const MISSED: &str = "missed by 100 watchers";

pub(super) fn round(bench: &Bench, round: u32, report: &mut Report) -> Result<()> {
    let load = Load { seconds: bench.seconds(), rate: Some(RATE), stamp: false };
    let mut one = 0.0;
    let mut many = 0.0;
    for watchers in rotated(&[1, MANY], round) {
        let observed = Session::observe(bench, Observer::Agent { watchers }, load)?;
        let cost = microseconds(observed.cpu) / float(observed.made.exits);
        if watchers == MANY {
            many = cost;
            let due = observed.made.exits * u64::from(MANY);
            report.record(NAME, MISSED, "events", float(due.saturating_sub(observed.count.events)));
        } else {
            one = cost;
        }
    }
    report.record(NAME, FIRST, "µs", one);
    report.record(NAME, FURTHER, "µs", (many - one) / f64::from(MANY - 1));
    Ok(())
}

pub(super) fn relate(report: &mut Report) -> Result<()> {
    report.relate(NAME, FURTHER, FIRST)
}
