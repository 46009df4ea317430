//! Whether an observer that is stopped for 300 ms misses anything.

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

/// Longer than a busy machine keeps a process from running.
const STALL: Duration = Duration::from_millis(300);
/// When it begins: the load runs at full speed by then, in the shortest of runs too.
const BEFORE: Duration = Duration::from_millis(400);
/// What default receive buffers must outlast a stall at; at full speed they need not.
const BUSY: u32 = 20_000;
const RATES: [Option<u32>; 2] = [Some(BUSY), None];
const OBSERVERS: [Observer; 2] = [Observer::Peer(Pace::Paced), Observer::Agent { watchers: 1 }];

pub(super) fn round(bench: &Bench, round: u32, report: &mut Report) -> Result<()> {
    for rate in RATES {
        let load = Load { seconds: bench.seconds(), rate, stamp: false };
        for observer in rotated(&OBSERVERS, round) {
            let observed = Session::observe_while(bench, observer, load, stop_for_a_while)?;
            let (made, count) = (observed.made.exits, observed.count);
            let figure = |what: &str| format!("{what} at {}, {}", name_of(rate), observer.name());
            report.record(NAME, figure("missed"), "exits", float(count.missed(made)));
            if let Observer::Agent { .. } = observer {
                report.record(NAME, figure("not told of"), "exits", float(count.untold(made)));
            }
        }
    }
    Ok(())
}

fn stop_for_a_while(observer: Pid) -> Result<()> {
    thread::sleep(BEFORE);
    kill(observer, Signal::SIGSTOP).context("stop the observer")?;
    thread::sleep(STALL);
    kill(observer, Signal::SIGCONT).context("let the observer go on")
}
