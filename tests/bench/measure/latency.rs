//! The latency from an exit to the client.

use std::time::Duration;

use anyhow::{Context, Result};

use super::{Bench, rotated};
use crate::args::Pace;
use crate::number::microseconds;
use crate::report::Report;
use crate::session::{Load, Observer, Session, name_of};

/// The name in figures.
pub(super) const NAME: &str = "latency";

/// A rate at which nothing needs to be paced.
const MODERATE: u32 = 1000;
const RATES: [Option<u32>; 2] = [Some(MODERATE), None];
const OBSERVERS: [Observer; 3] =
    [Observer::Peer(Pace::Plain), Observer::Peer(Pace::Paced), Observer::Agent { watchers: 1 }];
const QUANTILES: [&str; 2] = ["median", "p99"];

pub(super) fn round(bench: &Bench, round: u32, report: &mut Report) -> Result<()> {
    for rate in RATES {
        let load = Load { seconds: bench.seconds(), rate, stamp: true };
        for observer in rotated(&OBSERVERS, round) {
            let count = Session::observe(bench, observer, load)?.count;
            let age = count.age.context("no exit with a stamp was seen")?;
            for (quantile, age) in
                QUANTILES.into_iter().zip([age.median_ns, age.p99_ns].map(Duration::from_nanos))
            {
                report.record(NAME, figure(rate, quantile, observer), "µs", microseconds(age));
            }
        }
    }
    Ok(())
}

pub(super) fn relate(report: &mut Report) -> Result<()> {
    let [plain, paced, agent] = OBSERVERS;
    for rate in RATES {
        for quantile in QUANTILES {
            for peer in [plain, paced] {
                let peer = figure(rate, quantile, peer);
                report.relate(NAME, &figure(rate, quantile, agent), &peer)?;
            }
        }
    }
    Ok(())
}

fn figure(rate: Option<u32>, quantile: &str, observer: Observer) -> String {
    format!("{quantile} at {}, {}", name_of(rate), observer.name())
}
