//! The tasks of a simulated machine: groups, their threads, and ids.

use std::time::Duration;

use super::spec::Spec;
use super::statistics::{GroupTotals, PROGRAMS, TaskState};
use crate::taskstats::{Exit, Stats};

/// `PID_MAX_LIMIT` of the kernel's `include/linux/threads.h` on 64 bits.
const PID_LIMIT: u32 = 1 << 22;
/// `RESERVED_PIDS`: the first id after a wrap-around.
const FIRST_REUSED_PID: u32 = 300;
/// `AFORK`: forked, but never executed.
const FORKED: u8 = 1;
/// `ACORE`: dumped core.
const DUMPED_CORE: u8 = 8;
/// `AXSIG`: killed by a signal.
const KILLED: u8 = 0x10;
/// `AGROUP`: the last task of its group.
const LAST_OF_GROUP: u8 = 0x20;

/// All tasks.
#[derive(Debug)]
pub(super) struct Tasks {
    /// The group of each task, indexed by the low bits of the task's pid. The length is a power of
    /// two, and at least twice the number of tasks.
    slots: Vec<Option<PidSlot>>,
    groups: Vec<Option<Group>>,
    /// Entries of `groups` that are `None`.
    free: Vec<usize>,
    /// Tasks in `slots`, including exited leaders.
    count: usize,
    next_pid: u32,
}

#[derive(Clone, Copy, Debug)]
struct PidSlot {
    pid: u32,
    group: usize,
}

/// A thread group.
#[derive(Debug)]
struct Group {
    leader: Task,
    /// The status of a leader that exited before its threads and stays a zombie until they end.
    leader_status: Option<u32>,
    /// The live threads beside the leader.
    threads: Vec<Task>,
    program: usize,
    /// The sums that the kernel keeps from the first exit of a group with several threads
    /// (`signal->stats`).
    exited: Option<Box<GroupTotals>>,
    /// The index of the group in the workload's list; `None` for other tasks.
    workload_index: Option<usize>,
}

#[derive(Clone, Copy, Debug)]
struct Task {
    pid: u32,
    seed: u64,
    started: Duration,
}

/// The times that tasks depend on.
#[derive(Clone, Copy, Debug)]
pub(super) struct SimTime {
    /// The time since the machine started.
    pub(super) now: Duration,
    /// The machine's start, since the Unix epoch.
    pub(super) booted_at: Duration,
    /// Tasks that start from then on have delay counters; `None` for no task.
    pub(super) delays_since: Option<Duration>,
}

/// The properties of a task to start.
#[derive(Clone, Copy, Debug)]
pub(super) struct NewTask {
    pub(super) program: usize,
    pub(super) seed: u64,
    pub(super) started: Duration,
}

/// An exited task. Its statistics are computed if a listener receives them.
#[derive(Debug)]
pub(super) struct EndedTask {
    state: TaskState,
    status: u32,
    flags: u8,
    /// The sums of its group, if the group ended and ever had several tasks.
    group: Option<Box<GroupTotals>>,
    /// The index of its group in the workload's list, if the group ended and was in it.
    pub(super) workload_index: Option<usize>,
}

impl EndedTask {
    /// Returns whether the exit message has a group's record.
    pub(super) fn has_group_record(&self) -> bool {
        self.group.is_some()
    }

    /// Returns the exit as the kernel reports it.
    pub(super) fn exit(&self, cpu: u32, kernel_sequence: u32) -> Exit {
        let TaskState { tgid, version, .. } = self.state;
        let mut task = self.state.stats();
        task.exit_status = Some(self.status);
        if let Some(identity) = &mut task.identity.task {
            identity.flags = self.flags;
        }
        let process = self.group.as_ref().map(|totals| Box::new(totals.stats(tgid, version)));
        Exit { cpu, kernel_sequence, task, process, ..Exit::default() }
    }
}

impl Tasks {
    pub(super) fn new(expected: usize) -> Self {
        let slots = (expected * 4).next_power_of_two();
        Self {
            slots: vec![None; slots],
            groups: Vec::new(),
            free: Vec::new(),
            count: 0,
            next_pid: 1,
        }
    }

    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// Starts a process and returns its id; `None` if all ids are in use.
    pub(super) fn spawn(
        &mut self,
        new_task: NewTask,
        workload_index: Option<usize>,
    ) -> Option<u32> {
        let pid = self.take_pid()?;
        let leader = Task { pid, seed: new_task.seed, started: new_task.started };
        let group = Group {
            leader,
            leader_status: None,
            threads: Vec::new(),
            program: new_task.program % PROGRAMS.len(),
            exited: None,
            workload_index,
        };
        let index = self.free.pop().unwrap_or(self.groups.len());
        if index == self.groups.len() {
            self.groups.push(None);
        }
        self.groups[index] = Some(group);
        self.occupy(pid, index);
        Some(pid)
    }

    /// Starts a thread in the group of a live task and returns its id.
    pub(super) fn spawn_thread(&mut self, of: u32, new_task: NewTask) -> Option<u32> {
        let index = self.group_index(of)?;
        let pid = self.take_pid()?;
        self.group_mut(index)?.threads.push(Task {
            pid,
            seed: new_task.seed,
            started: new_task.started,
        });
        self.occupy(pid, index);
        Some(pid)
    }

    /// Ends a task; `None` if no live task has the id.
    pub(super) fn exit(
        &mut self,
        pid: u32,
        status: u32,
        at: SimTime,
        spec: &Spec,
    ) -> Option<EndedTask> {
        let index = self.group_index(pid)?;
        let group = self.group_mut(index)?;
        let task = *group.live().find(|task| task.pid == pid)?;
        let group_ended = !group.has_several();
        let state = group.state(&task, at, spec);
        if group.exited.is_some() || !group_ended {
            group.exited.get_or_insert_default().add_exited(&state.stats());
        }
        let is_leader = group.leader.pid == pid;
        let ended = EndedTask {
            state,
            status,
            flags: exit_flags(status, is_leader, group_ended),
            group: group.exited.take_if(|_| group_ended),
            workload_index: group.workload_index.filter(|_| group_ended),
        };
        self.bury(index, pid, status, group_ended);
        Some(ended)
    }

    fn bury(&mut self, index: usize, pid: u32, status: u32, group_ended: bool) {
        let Some(group) = self.groups.get_mut(index).and_then(Option::as_mut) else { return };
        let leader = group.leader.pid;
        group.threads.retain(|thread| thread.pid != pid);
        if pid == leader && !group_ended {
            group.leader_status = Some(status);
            return;
        }
        self.vacate(pid);
        if group_ended {
            if pid != leader {
                self.vacate(leader);
            }
            self.groups[index] = None;
            self.free.push(index);
        }
    }

    /// Returns the statistics of a task that is live or a zombie.
    pub(super) fn task(&self, pid: u32, at: SimTime, spec: &Spec) -> Option<Stats> {
        let group = self.group(self.group_index(pid)?)?;
        if let (true, Some(status)) = (group.leader.pid == pid, group.leader_status) {
            let mut stats = group.state(&group.leader, at, spec).stats();
            stats.exit_status = Some(status);
            // A zombie has no memory.
            stats.memory = None;
            return Some(stats);
        }
        let task = group.live().find(|task| task.pid == pid)?;
        Some(group.state(task, at, spec).stats())
    }

    /// Returns the sums of a group, found by the id of any of its tasks.
    pub(super) fn group_sums(&self, pid: u32, at: SimTime, spec: &Spec) -> Option<Stats> {
        let group = self.group(self.group_index(pid)?)?;
        let mut totals = group.exited.as_deref().cloned().unwrap_or_default();
        for task in group.live() {
            totals.add_live(&group.state(task, at, spec).stats());
        }
        Some(totals.stats(pid, spec.version))
    }

    /// Returns the tasks of a group, ascending, including a zombie leader.
    pub(super) fn threads(&self, tgid: u32) -> Option<Vec<u32>> {
        let group = self.group(self.group_index(tgid)?)?;
        let mut threads: Vec<u32> = group.threads.iter().map(|thread| thread.pid).collect();
        threads.push(group.leader.pid);
        threads.sort_unstable();
        Some(threads)
    }

    /// Returns the live tasks of a group, the leader first.
    pub(super) fn live(&self, tgid: u32) -> Vec<u32> {
        let group = self.group_index(tgid).and_then(|index| self.group(index));
        group.map_or_else(Vec::new, |group| group.live().map(|task| task.pid).collect())
    }

    /// Sets the index of a group in the workload's list.
    pub(super) fn set_workload_index(&mut self, tgid: u32, workload_index: usize) {
        let index = self.group_index(tgid);
        if let Some(group) = index.and_then(|index| self.group_mut(index)) {
            group.workload_index = Some(workload_index);
        }
    }

    fn group_index(&self, pid: u32) -> Option<usize> {
        let slot = self.slots[self.slot_index(pid)]?;
        (slot.pid == pid).then_some(slot.group)
    }

    fn group(&self, index: usize) -> Option<&Group> {
        self.groups.get(index)?.as_ref()
    }

    fn group_mut(&mut self, index: usize) -> Option<&mut Group> {
        self.groups.get_mut(index)?.as_mut()
    }

    fn slot_index(&self, pid: u32) -> usize {
        pid as usize & (self.slots.len() - 1)
    }

    /// Returns the next id that is not in use and whose slot is free.
    fn take_pid(&mut self) -> Option<u32> {
        if (self.count + 1) * 2 > self.slots.len() && self.slots.len() < PID_LIMIT as usize {
            self.grow();
        }
        for _ in 0..self.slots.len() {
            let pid = self.next_pid;
            self.next_pid = if pid + 1 < PID_LIMIT { pid + 1 } else { FIRST_REUSED_PID };
            if self.slots[self.slot_index(pid)].is_none() {
                return Some(pid);
            }
        }
        None
    }

    /// Doubles the number of slots. Ids with different slots keep different slots.
    fn grow(&mut self) {
        let old = std::mem::take(&mut self.slots);
        self.slots = vec![None; old.len() * 2];
        for slot in old.into_iter().flatten() {
            let at = self.slot_index(slot.pid);
            self.slots[at] = Some(slot);
        }
    }

    fn occupy(&mut self, pid: u32, group: usize) {
        let at = self.slot_index(pid);
        self.slots[at] = Some(PidSlot { pid, group });
        self.count += 1;
    }

    fn vacate(&mut self, pid: u32) {
        let at = self.slot_index(pid);
        self.slots[at] = None;
        self.count -= 1;
    }
}

impl Group {
    fn has_several(&self) -> bool {
        self.threads.len() + usize::from(self.leader_status.is_none()) > 1
    }

    fn live(&self) -> impl Iterator<Item = &Task> {
        let leader = self.leader_status.is_none().then_some(&self.leader);
        leader.into_iter().chain(&self.threads)
    }

    fn state(&self, task: &Task, at: SimTime, spec: &Spec) -> TaskState {
        let age_us = |started: Duration| {
            u64::try_from(at.now.saturating_sub(started).as_micros()).unwrap_or(u64::MAX)
        };
        TaskState {
            pid: task.pid,
            tgid: self.leader.pid,
            seed: task.seed,
            program: PROGRAMS[self.program],
            started_at: at.booted_at + task.started,
            age_us: age_us(task.started),
            group_age_us: age_us(self.leader.started),
            version: spec.version,
            delay_accounting: at.delays_since.is_some_and(|since| task.started >= since),
        }
    }
}

/// Returns the accounting flags of an exited task. A thread is forked and executes no program.
fn exit_flags(status: u32, is_leader: bool, group_ended: bool) -> u8 {
    const SIGNAL: u32 = 0x7f;
    const CORE: u32 = 0x80;
    let flag = |flag, is_set| if is_set { flag } else { 0 };
    flag(FORKED, !is_leader)
        | flag(KILLED, status & SIGNAL != 0)
        | flag(DUMPED_CORE, status & CORE != 0)
        | flag(LAST_OF_GROUP, group_ended)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BIRTH: NewTask = NewTask { program: 1, seed: 5, started: Duration::ZERO };
    const NOW: SimTime =
        SimTime { now: Duration::from_secs(9), booted_at: Duration::ZERO, delays_since: None };

    /// After the highest id, free ids are used again; ids of live tasks are not.
    #[test]
    fn ids_are_reused() {
        let (mut tasks, spec) = (Tasks::new(1), Spec::default());
        let init = tasks.spawn(BIRTH, None);
        tasks.next_pid = PID_LIMIT - 2;
        let pids: Vec<_> = (0..4).map(|_| tasks.spawn(BIRTH, None).unwrap()).collect();
        assert_eq!(init, Some(1));
        let expected = [PID_LIMIT - 2, PID_LIMIT - 1, FIRST_REUSED_PID, FIRST_REUSED_PID + 1];
        assert_eq!(pids, expected);
        for pid in [1, PID_LIMIT - 2, PID_LIMIT - 1, FIRST_REUSED_PID] {
            assert_eq!(tasks.task(pid, NOW, &spec).unwrap().identity.pid, Some(pid));
        }
        assert_eq!(tasks.task(2, NOW, &spec), None);
    }

    /// Every live task is found, and no other id is.
    #[test]
    fn places_grow_with_the_tasks() {
        let (mut tasks, spec) = (Tasks::new(1), Spec::default());
        let pids: Vec<_> = (0..1000).map(|_| tasks.spawn(BIRTH, None).unwrap()).collect();
        for pid in pids.iter().filter(|pid| *pid % 3 == 0) {
            assert!(tasks.exit(*pid, 0, NOW, &spec).is_some());
        }
        let found = |pid: &&u32| tasks.task(**pid, NOW, &spec).is_some();
        assert!(pids.iter().filter(found).all(|pid| pid % 3 != 0));
        assert_eq!(pids.iter().filter(found).count(), tasks.count());
    }
}
