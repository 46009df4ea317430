//! The proof that exits arrive: tasks that end, and whether the kernel tells of them.
//!
//! A thread is a task with an exit of its own, and needs no program to execute, so that the test
//! works in an image that has none.

use std::collections::BTreeMap;
use std::io;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::{Pid, gettid};

use super::listener::LinuxListener;
use crate::bpf::CgroupLosses;
use crate::taskstats::{Cpumask, Depth, Exit, ExitListener, ExitSink, KernelError, SelfTest};

/// How long a CPU may take to run a task of a few microseconds. Only tasks of real-time priority can
/// keep it away for long.
const RUN_WITHIN: Duration = Duration::from_secs(3);
/// How long the kernel's word may take after the task has ended. It is sent before (`do_exit` in
/// `kernel/exit.c`), so this is patience with nobody but our own thread.
const TELL_WITHIN: Duration = Duration::from_millis(500);

/// Has a task end on each CPU, one after the other, so that no exit of the machine is told to the
/// test longer than needed.
pub(super) fn run(listener: &mut LinuxListener, cpus: &Cpumask) -> Result<SelfTest, KernelError> {
    let (mut result, mut received) = (SelfTest::default(), ReceivedExits::default());
    let mut ended = BTreeMap::new();
    for cpu in cpus.iter() {
        listener.open(cpu)?;
        let Some(task) = ProbeThread::end_on(cpu)? else {
            listener.close(cpu, &mut received);
            result.untested.insert(cpu);
            continue;
        };
        ended.insert(cpu, task);
        listener.wait(Some(Duration::ZERO))?;
        listener.drain(Depth::Empty, &mut received);
        if received.about(cpu, task) {
            listener.close(cpu, &mut received);
        }
    }
    wait_for_the_rest(listener, &ended, &mut received)?;
    for (cpu, task) in ended {
        let told =
            if received.about(cpu, task) { &mut result.delivered } else { &mut result.missing };
        told.insert(cpu);
        listener.close(cpu, &mut ReceivedExits::default());
    }
    Ok(result)
}

/// Waits for exits that were not there at once. On all CPUs at a time: where none comes, each would
/// take as long.
fn wait_for_the_rest(
    listener: &mut LinuxListener,
    ended: &BTreeMap<u32, u32>,
    received: &mut ReceivedExits,
) -> Result<(), KernelError> {
    let deadline = Instant::now() + TELL_WITHIN;
    while ended.iter().any(|(cpu, task)| !received.about(*cpu, *task)) {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            break;
        }
        listener.wait(Some(left))?;
        listener.drain(Depth::Empty, received);
    }
    Ok(())
}

/// What the kernel told.
#[derive(Debug, Default)]
struct ReceivedExits {
    /// Tasks that ended, with the CPU that their exit was told of.
    exits: Vec<(u32, u32)>,
    /// CPUs of which exits were dropped: those arrive, if they are not too many.
    overflowed: Cpumask,
}

impl ReceivedExits {
    fn about(&self, cpu: u32, task: u32) -> bool {
        self.exits.contains(&(cpu, task)) || self.overflowed.contains(cpu)
    }
}

impl ExitSink for ReceivedExits {
    fn exit(&mut self, exit: &Exit) {
        self.exits.extend(exit.task.identity.pid.map(|pid| (exit.cpu, pid)));
    }

    fn dropped(&mut self, cpu: u32, _: u64, _: CgroupLosses) {
        self.overflowed.insert(cpu);
    }
}

/// A thread that is bound to a CPU and ends there.
struct ProbeThread {
    task: Pid,
    thread: JoinHandle<()>,
    /// Dropped to let it end.
    leash: Sender<()>,
    /// Says that it runs on its CPU.
    landed: Receiver<()>,
}

impl ProbeThread {
    /// Has a task end on a CPU, and returns its id; `None` if the CPU is out of reach, or did not
    /// run it in time.
    fn end_on(cpu: u32) -> Result<Option<u32>, KernelError> {
        let Some(target) = only(cpu) else { return Ok(None) };
        let mayfly = Self::start().map_err(|error| KernelError::NotTested {
            cause: format!("starting a thread failed: {error}"),
        })?;
        let home = sched_getaffinity(mayfly.task);
        let bound = sched_setaffinity(mayfly.task, &target).is_ok();
        let Self { task, thread, leash, landed } = mayfly;
        drop(leash);
        let in_time = bound && landed.recv_timeout(RUN_WITHIN).is_ok();
        if !in_time && let Ok(home) = home {
            // Where it may not run it cannot end either, and would not be joined.
            sched_setaffinity(task, &home).ok();
        }
        let joined = thread.join().is_ok();
        Ok(u32::try_from(task.as_raw()).ok().filter(|_| in_time && joined))
    }

    /// Starts the thread, which waits for its leash to be dropped.
    fn start() -> io::Result<Self> {
        let (born, birth) = mpsc::channel();
        let (leash, held) = mpsc::channel::<()>();
        let (land, landed) = mpsc::channel();
        let live = move || {
            born.send(gettid()).ok();
            held.recv().ok();
            land.send(()).ok();
        };
        let thread = thread::Builder::new().name("self-test".to_owned()).spawn(live)?;
        let task = birth.recv().map_err(io::Error::other)?;
        Ok(Self { task, thread, leash, landed })
    }
}

/// A set of one CPU; `None` beyond what the C library's sets can hold.
fn only(cpu: u32) -> Option<CpuSet> {
    let mut cpus = CpuSet::new();
    cpus.set(usize::try_from(cpu).ok()?).ok()?;
    Some(cpus)
}
