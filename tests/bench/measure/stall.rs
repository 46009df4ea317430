//! Exits that an observer misses when it is stopped for a while.

use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{Bench, rotated};
use crate::args::Pace;
use crate::number::float;
use crate::report::Report;
use crate::session::{Load, Observer, Session, name_of};

/// The name in figures.
pub(super) const NAME: &str = "stall";

/// The observer, the duration of the stop, and the load.
#[derive(Clone, Copy, Debug)]
struct Variant {
    observer: Observer,
    stall: Duration,
    rate: Option<u32>,
}

/// Longer than a busy machine keeps a process from running.
const SHORT: Duration = Duration::from_millis(300);
/// A pause of a machine without free memory.
const LONG: Duration = Duration::from_secs(1);
/// The begin of a stall: by then the load runs at full speed.
const BEFORE: Duration = Duration::from_millis(400);
/// The load must outlast the longest stall.
const LEAST_SECONDS: u32 = 2;
/// The rate of a busy node.
const BUSY: Option<u32> = Some(20_000);
const AGENT: Observer = Observer::Agent { watchers: 1 };
const VARIANTS: [Variant; 4] = [
    Variant { observer: Observer::Peer(Pace::Paced), stall: SHORT, rate: None },
    Variant { observer: AGENT, stall: SHORT, rate: None },
    Variant { observer: AGENT, stall: LONG, rate: None },
    Variant { observer: AGENT, stall: LONG, rate: BUSY },
];

pub(super) fn round(bench: &Bench, round: u32, report: &mut Report) -> Result<()> {
    for variant in rotated(&VARIANTS, round) {
        let Variant { observer, stall, rate } = variant;
        let load = Load { seconds: bench.seconds().max(LEAST_SECONDS), rate, stamp: false };
        let stop = |observer| stop_for(stall, observer);
        let observed = Session::observe_while(bench, observer, load, stop)?;
        let (made, count) = (observed.made.exits, observed.count);
        report.record(NAME, variant.figure("lost"), "exits", float(count.lost_of(made)));
        if let Observer::Agent { .. } = observer {
            report.record(
                NAME,
                variant.figure("not reported"),
                "exits",
                float(count.unreported(made)),
            );
        }
    }
    Ok(())
}

impl Variant {
    fn figure(self, what: &str) -> String {
        let milliseconds = self.stall.as_millis();
        let (rate, observer) = (name_of(self.rate), self.observer.name());
        format!("{what} in a stall of {milliseconds} ms at {rate}, {observer}")
    }
}

fn stop_for(stall: Duration, observer: Pid) -> Result<()> {
    thread::sleep(BEFORE);
    kill(observer, Signal::SIGSTOP).context("stop the observer")?;
    thread::sleep(stall);
    kill(observer, Signal::SIGCONT).context("let the observer go on")
}
