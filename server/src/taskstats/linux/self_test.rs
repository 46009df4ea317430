//! The self-test: ends tasks and checks that the kernel reports their exits.
//!
//! The tasks are threads, each of which has an exit of its own. A thread needs no program to
//! execute, so that the test works in an image without any.

use std::collections::BTreeMap;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::{Pid, gettid};

use super::listener::LinuxListener;
use crate::bpf::CgroupLosses;
use crate::taskstats::{Cpumask, Depth, Exit, ExitListener, ExitSink, KernelError, SelfTest};

/// The time within which a CPU must run a task of a few microseconds. Only real-time tasks can
/// occupy a CPU for longer.
const RUN_TIMEOUT: Duration = Duration::from_secs(3);
/// The time within which the message must arrive after the task has ended. The kernel sends it
/// before that (`do_exit` in `kernel/exit.c`), so this only allows for a delay of this thread.
const MESSAGE_TIMEOUT: Duration = Duration::from_millis(500);

/// The thread that makes a system call. The sandbox permits no other one to be bound.
const CALLER: Pid = Pid::from_raw(0);

/// Ends a task on each CPU, one after the other, so that the test receives other exits no longer
/// than necessary.
pub(super) fn run(listener: &mut LinuxListener, cpus: &Cpumask) -> Result<SelfTest, KernelError> {
    let (mut result, mut received) = (SelfTest::default(), ReceivedExits::default());
    let mut ended = BTreeMap::new();
    for cpu in cpus.iter() {
        listener.open(cpu)?;
        let Some(task) = end_thread_on(cpu)? else {
            listener.close(cpu, &mut received);
            result.untested.insert(cpu);
            continue;
        };
        ended.insert(cpu, task);
        listener.wait(Some(Duration::ZERO))?;
        listener.drain(Depth::Empty, &mut received);
        if received.has(cpu, task) {
            listener.close(cpu, &mut received);
        }
    }
    wait_for_missing(listener, &ended, &mut received)?;
    for (cpu, task) in ended {
        let set = if received.has(cpu, task) { &mut result.delivered } else { &mut result.missing };
        set.insert(cpu);
        listener.close(cpu, &mut ReceivedExits::default());
    }
    Ok(result)
}

/// Waits for exits that did not arrive immediately, on all CPUs at once so that the timeouts do not
/// add up.
fn wait_for_missing(
    listener: &mut LinuxListener,
    ended: &BTreeMap<u32, u32>,
    received: &mut ReceivedExits,
) -> Result<(), KernelError> {
    let deadline = Instant::now() + MESSAGE_TIMEOUT;
    while ended.iter().any(|(cpu, task)| !received.has(*cpu, *task)) {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            break;
        }
        listener.wait(Some(left))?;
        listener.drain(Depth::Empty, received);
    }
    Ok(())
}

/// The exits received from the kernel.
#[derive(Debug, Default)]
struct ReceivedExits {
    /// Exited tasks: CPU and task id.
    exits: Vec<(u32, u32)>,
    /// CPUs that dropped exits. Exits arrive there, unless there are too many.
    overflowed: Cpumask,
}

impl ReceivedExits {
    fn has(&self, cpu: u32, task: u32) -> bool {
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

/// Ends a thread on a CPU and returns its id; `None` if the CPU is not available or did not run the thread
/// in time. A thread that may not run then ends later by itself.
fn end_thread_on(cpu: u32) -> Result<Option<u32>, KernelError> {
    let Some(target) = only(cpu) else { return Ok(None) };
    let (notify_bound, bound) = mpsc::channel();
    let run = move || {
        // When the call returns, the thread runs on its CPU.
        if sched_setaffinity(CALLER, &target).is_ok() {
            notify_bound.send(gettid()).ok();
        }
    };
    let thread = thread::Builder::new().name("self-test".to_owned()).spawn(run);
    let thread = thread.map_err(|error| KernelError::NotTested {
        cause: format!("cannot start a thread: {error}"),
    })?;
    let Ok(task) = bound.recv_timeout(RUN_TIMEOUT) else { return Ok(None) };
    let joined = thread.join().is_ok();
    Ok(u32::try_from(task.as_raw()).ok().filter(|_| joined))
}

/// Returns a set of one CPU; `None` if the number exceeds the C library's sets.
fn only(cpu: u32) -> Option<CpuSet> {
    let mut cpus = CpuSet::new();
    cpus.set(usize::try_from(cpu).ok()?).ok()?;
    Some(cpus)
}
