//! An exit as a row shows it: the end of a thread, or of a whole process.

use std::borrow::Cow;

use super::fields::{cpu_us, storage_bytes};
use super::owner::owner;
use crate::proto::{ContextSwitches, ExitStatus, Faults, Identity, Io, Memory, ProcessTotals};
use crate::{ExitEvent, TaskStats, Workload};

/// What an exit ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Ended {
    /// A process, with its last thread.
    Process,
    /// A thread of a process that continues.
    Thread,
    /// The kernel does not say: before taskstats v12.
    Unknown,
}

/// The values of one exit.
///
/// The end of a process that had several threads has the sums over all of them. Where the agent did not
/// receive the exit of each thread, it has the numbers of the kernel's group record, which adds up all
/// threads. A number that the group record lacks is absent then: that of the last thread would be too
/// small. Peaks are those of the address space, which the threads share.
#[derive(Debug)]
pub(crate) struct Exited<'a> {
    pub(crate) event: &'a ExitEvent,
    /// The record of the task; absent from a message that breaks the contract.
    task: Option<&'a TaskStats>,
    /// The kernel's group record.
    group: Option<&'a TaskStats>,
    /// The record whose numbers count.
    record: Option<Cow<'a, TaskStats>>,
    workload: Option<&'a Workload>,
}

impl<'a> Exited<'a> {
    /// `workload` is that of the event's cgroup, if it is known.
    pub(crate) fn new(event: &'a ExitEvent, workload: Option<&'a Workload>) -> Self {
        let (task, group) = (event.task.as_ref(), event.process.as_deref());
        let totals = event.process_totals.as_deref().filter(|totals| totals.complete);
        let record = match (group, totals) {
            (Some(group), Some(totals)) => Some(Cow::Owned(record_of(totals, group))),
            _ => group.or(task).map(Cow::Borrowed),
        };
        Self { event, task, group, record, workload }
    }

    pub(crate) fn ended(&self) -> Ended {
        match (self.group, self.event.last_in_process) {
            (Some(_), _) | (None, Some(true)) => Ended::Process,
            (None, Some(false)) => Ended::Thread,
            (None, None) => Ended::Unknown,
        }
    }

    /// Returns the id of the thread, or that of the process which ended.
    pub(crate) fn pid(&self) -> Option<u32> {
        match self.ended() {
            Ended::Process => self.tgid().or_else(|| self.identity()?.pid),
            Ended::Thread | Ended::Unknown => self.identity()?.pid,
        }
    }

    pub(crate) fn tgid(&self) -> Option<u32> {
        let of_group = self.group.and_then(|group| group.identity.as_ref()?.tgid);
        of_group.or_else(|| self.identity()?.tgid)
    }

    /// Returns who the task was: parent, user and group are those of the process, too.
    pub(crate) fn identity(&self) -> Option<&'a Identity> {
        self.task?.identity.as_ref()
    }

    /// Returns the command name; absent when the last thread of a process was not its first, because
    /// each thread has a name, and that of the process is the first thread's.
    pub(crate) fn comm(&self) -> Option<&'a str> {
        if self.last_thread_comm().is_some() {
            return None;
        }
        self.identity()?.comm.as_deref()
    }

    /// Returns the name of the last thread, where the name of the process is not known.
    pub(crate) fn last_thread_comm(&self) -> Option<&'a str> {
        let identity = self.identity()?;
        let is_first = identity.pid == self.tgid();
        self.group.filter(|_| !is_first).and(identity.comm.as_deref())
    }

    pub(crate) fn status(&self) -> Option<&'a ExitStatus> {
        self.task?.exit.as_ref()
    }

    pub(crate) fn elapsed_us(&self) -> Option<u64> {
        match self.group {
            Some(_) => self.task?.group_elapsed_us,
            None => self.task?.elapsed_us,
        }
    }

    pub(crate) fn cpu_us(&self) -> Option<u64> {
        cpu_us(self.record()?)
    }

    pub(crate) fn memory(&self) -> Option<&'a Memory> {
        self.task?.memory.as_ref()
    }

    pub(crate) fn storage_bytes(&self) -> Option<u64> {
        storage_bytes(self.record()?)
    }

    pub(crate) fn io(&self) -> Option<&Io> {
        self.record()?.io.as_ref()
    }

    pub(crate) fn faults(&self) -> Option<&Faults> {
        self.record()?.faults.as_ref()
    }

    pub(crate) fn context_switches(&self) -> Option<&ContextSwitches> {
        self.record()?.context_switches.as_ref()
    }

    /// Returns the container, pod, unit or cgroup of the task.
    pub(crate) fn owner(&self) -> Option<String> {
        owner(self.workload, self.event.cgroup_id, self.event.attribution())
    }

    /// Returns the record whose numbers count: the sums over all threads, the group's, or the task's.
    pub(crate) fn record(&self) -> Option<&TaskStats> {
        self.record.as_deref()
    }
}

/// Returns the record of a group with the sums over its threads.
fn record_of(totals: &ProcessTotals, group: &TaskStats) -> TaskStats {
    let ProcessTotals { cpu, faults, memory, io, context_switches, delays, .. } = *totals;
    TaskStats { cpu, faults, memory, io, context_switches, delays, ..group.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::CpuTime;

    fn task(pid: u32, cpu_us: u64) -> TaskStats {
        TaskStats {
            identity: Some(Identity {
                pid: Some(pid),
                tgid: Some(42),
                comm: Some(format!("t{pid}")),
                ..Default::default()
            }),
            cpu: Some(CpuTime { user_us: Some(cpu_us), system_us: Some(0), ..Default::default() }),
            elapsed_us: Some(5),
            group_elapsed_us: Some(65),
            memory: Some(Memory { peak_rss_kib: 7, ..Default::default() }),
            io: Some(Io::default()),
            ..Default::default()
        }
    }

    fn group(cpu_us: u64) -> TaskStats {
        let cpu = CpuTime { user_us: Some(cpu_us), system_us: Some(0), ..Default::default() };
        let identity = Identity { tgid: Some(42), ..Default::default() };
        TaskStats { identity: Some(identity), cpu: Some(cpu), ..Default::default() }
    }

    fn event(task: TaskStats, process: Option<TaskStats>, last: bool) -> ExitEvent {
        ExitEvent {
            task: Some(task),
            process: process.map(Box::new),
            last_in_process: Some(last),
            ..Default::default()
        }
    }

    #[test]
    fn a_process_with_threads_has_the_numbers_of_its_group() {
        let event = event(task(44, 44_000), Some(group(296_000)), true);
        let exited = Exited::new(&event, None);
        assert_eq!((exited.ended(), exited.pid()), (Ended::Process, Some(42)));
        assert_eq!((exited.cpu_us(), exited.elapsed_us()), (Some(296_000), Some(65)));
        assert_eq!(exited.memory().map(|memory| memory.peak_rss_kib), Some(7));
        assert_eq!((exited.io(), exited.storage_bytes()), (None, None));
        assert_eq!((exited.comm(), exited.last_thread_comm()), (None, Some("t44")));
    }

    #[test]
    fn a_process_has_the_sums_over_its_threads_if_they_are_all() {
        let cpu = CpuTime { user_us: Some(301_000), system_us: Some(0), ..Default::default() };
        let io = Some(Io { read_bytes: 4096, ..Default::default() });
        for (complete, cpu_us, bytes) in
            [(true, Some(301_000), Some(4096)), (false, Some(296_000), None)]
        {
            let totals = ProcessTotals { cpu: Some(cpu), io, complete, ..Default::default() };
            let mut event = event(task(44, 44_000), Some(group(296_000)), true);
            event.process_totals = Some(Box::new(totals));
            let exited = Exited::new(&event, None);
            assert_eq!((exited.cpu_us(), exited.storage_bytes()), (cpu_us, bytes));
        }
    }

    #[test]
    fn the_first_thread_names_the_process() {
        let event = event(task(42, 1), Some(group(2)), true);
        let exited = Exited::new(&event, None);
        assert_eq!((exited.comm(), exited.last_thread_comm()), (Some("t42"), None));
    }

    #[test]
    fn a_thread_has_its_own_numbers() {
        let event = event(task(44, 9), None, false);
        let exited = Exited::new(&event, None);
        assert_eq!((exited.ended(), exited.pid()), (Ended::Thread, Some(44)));
        assert_eq!((exited.cpu_us(), exited.elapsed_us()), (Some(9), Some(5)));
        assert_eq!(exited.comm(), Some("t44"));
    }
}
