//! The load: threads that exit.

use std::io;
use std::sync::{Arc, Barrier};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use crate::args::LoadArgs;
use crate::{control, cpus, stamp};

/// The result of a load.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub(crate) struct Made {
    /// Threads that exited.
    pub(crate) exits: u64,
    /// The duration, in seconds.
    pub(crate) seconds: f64,
}

/// The threads do next to nothing; the smallest stack is the cheapest to map.
const STACK_BYTES: usize = 16 << 10;
/// The step of a fixed rate: shorter ones would measure the timer.
const STEPS_PER_SECOND: u32 = 1000;

/// Runs the load and prints its result.
pub(crate) fn run(args: &LoadArgs) -> Result<()> {
    let made = match args.rate {
        Some(rate) => steady(args, rate)?,
        None => churn(args)?,
    };
    control::say(&serde_json::to_string(&made)?)
}

/// Makes `rate` exits a second, however long each lasts.
fn steady(args: &LoadArgs, rate: u32) -> Result<Made> {
    let steps = rate.min(STEPS_PER_SECOND);
    let period = Duration::from_secs(1) / steps;
    let begin = Instant::now();
    let mut exits = 0;
    for step in 0..steps * args.seconds {
        thread::sleep((begin + period * step).saturating_duration_since(Instant::now()));
        exits += burst(rate / steps, args.stamp)?;
    }
    Ok(Made { exits, seconds: begin.elapsed().as_secs_f64() })
}

fn burst(size: u32, stamped: bool) -> Result<u64> {
    let threads: Vec<_> = (0..size).map(|_| spawn(stamped)).collect::<io::Result<_>>()?;
    for thread in threads {
        join(thread)?;
    }
    Ok(u64::from(size))
}

/// Makes as many exits as one spawner on each CPU can.
fn churn(args: &LoadArgs) -> Result<Made> {
    let cpus = cpus::online()?;
    let start = Arc::new(Barrier::new(cpus.len()));
    let begin = Instant::now();
    let churners: Vec<_> = cpus
        .into_iter()
        .map(|cpu| {
            let (start, args) = (Arc::clone(&start), args.clone());
            thread::spawn(move || churn_on(cpu, &start, &args))
        })
        .collect();
    let mut exits = 0;
    for churner in churners {
        exits += churner.join().map_err(|_| anyhow!("a churner panicked"))??;
    }
    Ok(Made { exits, seconds: begin.elapsed().as_secs_f64() })
}

fn churn_on(cpu: u32, start: &Barrier, args: &LoadArgs) -> Result<u64> {
    let pinned = pin_to(cpu);
    start.wait();
    pinned?;
    let begin = Instant::now();
    let duration = Duration::from_secs(u64::from(args.seconds));
    let mut exits = 0;
    while begin.elapsed() < duration {
        join(spawn(args.stamp)?)?;
        exits += 1;
    }
    Ok(exits)
}

/// Binds the calling thread, and the threads that it starts, to one CPU.
fn pin_to(cpu: u32) -> Result<()> {
    let mut set = CpuSet::new();
    set.set(usize::try_from(cpu)?).context("name a CPU")?;
    sched_setaffinity(Pid::from_raw(0), &set).context("pin a churner")
}

fn spawn(stamped: bool) -> io::Result<JoinHandle<io::Result<()>>> {
    let last_act = move || if stamped { stamp::mark_this_thread() } else { Ok(()) };
    thread::Builder::new().stack_size(STACK_BYTES).spawn(last_act)
}

fn join(thread: JoinHandle<io::Result<()>>) -> Result<()> {
    thread.join().map_err(|_| anyhow!("a thread of the load panicked"))?.context("stamp a thread")
}
