//! What the agent takes while nothing happens.
//!
//! Other tasks of the machine exit now and then, and wake whoever listens. A plain listener, which
//! wakes once for each, runs beside the agent in the same seconds and tells how many that were.

use std::thread;
use std::time::Duration;

use anyhow::Result;

use super::Bench;
use crate::args::Pace;
use crate::number::float;
use crate::procfs;
use crate::report::Report;
use crate::session::{Observer, Session};

/// The name in figures.
pub(super) const NAME: &str = "idle";

/// After the start, until connections and allocations are done with.
const SETTLING: Duration = Duration::from_millis(500);
const OBSERVERS: [Observer; 2] = [Observer::Peer(Pace::Plain), Observer::Agent { watchers: 1 }];

pub(super) fn round(bench: &Bench, report: &mut Report) -> Result<()> {
    let start = |observer| Session::start(bench, observer, false);
    let [plain, agent] = OBSERVERS;
    let sessions = [start(plain)?, start(agent)?];
    thread::sleep(SETTLING);
    let before = switches(&sessions)?;
    thread::sleep(Duration::from_secs(u64::from(bench.seconds())));
    let after = switches(&sessions)?;
    for (index, (observer, session)) in OBSERVERS.into_iter().zip(sessions).enumerate() {
        let switches = after[index].saturating_sub(before[index]);
        let per_second = float(switches) / f64::from(bench.seconds());
        report.record(NAME, wake_ups(observer), "switches/s", per_second);
        report.record(NAME, memory(observer), "KiB", float(procfs::resident_kib(session.pid()?)?));
        let count = session.finish()?;
        report.record(NAME, seen("exits", observer), "exits", float(count.events));
        report.record(NAME, seen("heartbeats", observer), "messages", float(count.heartbeats));
    }
    Ok(())
}

pub(super) fn relate(report: &mut Report) -> Result<()> {
    let [plain, agent] = OBSERVERS;
    report.relate(NAME, &memory(agent), &memory(plain))
}

fn switches(sessions: &[Session; 2]) -> Result<[u64; 2]> {
    let [first, second] = sessions;
    Ok([procfs::context_switches(first.pid()?)?, procfs::context_switches(second.pid()?)?])
}

fn wake_ups(observer: Observer) -> String {
    format!("context switches, {}", observer.name())
}

fn seen(what: &str, observer: Observer) -> String {
    format!("{what} seen meanwhile, {}", observer.name())
}

fn memory(observer: Observer) -> String {
    format!("resident memory, {}", observer.name())
}
