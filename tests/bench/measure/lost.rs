//! Losses at full speed, over a time in which buffers would fill.

use anyhow::Result;

use super::Bench;
use crate::number::float;
use crate::report::Report;
use crate::session::{Load, Observer, Session};

/// The name in figures.
pub(super) const NAME: &str = "lost";

/// Runs once, because its length is its point.
pub(super) fn once(bench: &Bench, report: &mut Report) -> Result<()> {
    let load = Load { seconds: bench.lost_seconds(), rate: None, stamp: false };
    let observed = Session::observe(bench, Observer::Agent { watchers: 1 }, load)?;
    let (made, count) = (observed.made, observed.count);
    report.record(NAME, "lost at full speed", "exits", float(count.lost_of(made.exits)));
    report.record(NAME, "not reported", "exits", float(count.unreported(made.exits)));
    report.record(NAME, "exits in all", "exits", float(made.exits));
    report.record(NAME, "workload", "exits/s", float(made.exits) / made.seconds);
    Ok(())
}
