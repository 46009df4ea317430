//! The cost of an exit for the agent on machines with more CPUs than this one.
//!
//! The agent's own reader and history receive exits that were recorded on this machine from a
//! synthetic kernel, which distributes the same number of them over 1, 16 and 256 queues in every
//! drain. The system calls for each socket are not included: only a machine with so many CPUs can
//! measure those.

use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use anyhow::{Context, Result};
use taskstatsd::exits::{Exits, ReaderConfig, Scope, Selection, WatchOptions};
use taskstatsd::taskstats::{Exit, Kernel};
use tokio::runtime;

use super::{Bench, rotated};
use crate::number::float;
use crate::recording;
use crate::report::Report;
use crate::synthetic::{self, SyntheticKernel};

/// The name in figures.
pub(super) const NAME: &str = "growth";

const CPUS: [u32; 3] = [1, 16, 256];
/// The agent's default.
const HISTORY_BYTES: usize = 32 << 20;
/// The reader goes without sleeps, which would only make the run longer.
const CONFIG: ReaderConfig =
    ReaderConfig { pace: Duration::ZERO, receive_buffer: 16 << 20, grace: Duration::ZERO };
/// A run needs less than a second of CPU time.
const PATIENCE: Duration = Duration::from_secs(60);

pub(super) fn round(_: &Bench, round: u32, report: &mut Report) -> Result<()> {
    let exits = recording::of_this_machine()?;
    for cpus in rotated(&CPUS, round) {
        let cost = cpu_of(cpus, &exits)?.as_secs_f64() / float(synthetic::EXITS);
        report.record(NAME, figure(cpus), "ns", cost * 1e9);
    }
    Ok(())
}

pub(super) fn relate(report: &mut Report) -> Result<()> {
    let [one, some, many] = CPUS.map(figure);
    report.relate(NAME, &some, &one)?;
    report.relate(NAME, &many, &one)
}

/// CPU time of the reader thread for [`synthetic::EXITS`] exits.
fn cpu_of(cpus: u32, recorded: &[Exit]) -> Result<Duration> {
    let (measured, report) = mpsc::channel();
    let kernel = Arc::new(SyntheticKernel::new(cpus, recorded.to_vec(), measured));
    let all = kernel.possible_cpus().clone();
    let exits =
        Exits::start(kernel, CONFIG, HISTORY_BYTES, Arc::default()).context("start the reader")?;
    let everything = Selection::new(all.clone(), Scope::AllTasks, &all);
    let runtime = runtime::Builder::new_current_thread().enable_time().build()?;
    let watcher = runtime.block_on(exits.watch(everything, WatchOptions::default()))?;
    let cpu = report.recv_timeout(PATIENCE).context("the reader did not receive all exits")?;
    drop(watcher);
    exits.stop();
    Ok(cpu)
}

fn figure(cpus: u32) -> String {
    format!("CPU an exit, {cpus} CPUs")
}
