//! The tasks of a simulated machine: groups, their threads, and ids.

use std::time::Duration;

use super::spec::Spec;
use super::statistics::{GroupTotals, PROGRAMS, TaskState};
use crate::taskstats::{Exit, Stats};

/// `PID_MAX_LIMIT` of the kernel's `include/linux/threads.h` on 64 bits.
const PID_LIMIT: u32 = 1 << 22;
/// `RESERVED_PIDS`: where ids begin again after the last one.
const FIRST_PID_AGAIN: u32 = 300;
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
    /// By the low bits of its pid: each task's group, `None` where nobody has such a pid. Its length
    /// is a power of two, and twice the number of tasks at least.
    places: Vec<Option<PidSlot>>,
    groups: Vec<Option<Group>>,
    /// Entries of `groups` that are `None`.
    free: Vec<usize>,
    /// Tasks that have a place, dead leaders included.
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
    /// The status of a leader that ended before its threads, and waits for their end as a zombie.
    leader_status: Option<u32>,
    /// The threads beside the leader that live.
    threads: Vec<Task>,
    program: usize,
    /// What the kernel keeps from the first exit of a group with several threads on
    /// (`signal->stats`).
    dead: Option<Box<GroupTotals>>,
    /// The place in the list of those that the workload ends, if it may.
    workload_index: Option<usize>,
}

#[derive(Clone, Copy, Debug)]
struct Task {
    pid: u32,
    seed: u64,
    born: Duration,
}

/// The time, as tasks see it.
#[derive(Clone, Copy, Debug)]
pub(super) struct SimTime {
    /// Since the machine began.
    pub(super) now: Duration,
    /// When the machine began, since 1970.
    pub(super) booted_at: Duration,
    /// Tasks born from then on have delay accounts; `None` for nobody.
    pub(super) accounted_since: Option<Duration>,
}

/// What is to be born.
#[derive(Clone, Copy, Debug)]
pub(super) struct NewTask {
    pub(super) program: usize,
    pub(super) seed: u64,
    pub(super) born: Duration,
}

/// A task's end. Its account is worked out when somebody is told.
#[derive(Debug)]
pub(super) struct EndedTask {
    life: TaskState,
    status: u32,
    flags: u8,
    /// The sums of a group that ended with it and ever had several tasks.
    group: Option<Box<GroupTotals>>,
    /// Where its group stood in the workload's list, if the group ended and was one of those.
    pub(super) workload_index: Option<usize>,
}

impl EndedTask {
    /// Whether a group's record belongs to it.
    pub(super) fn has_group_record(&self) -> bool {
        self.group.is_some()
    }

    /// What the kernel tells of it.
    pub(super) fn exit(&self, cpu: u32, kernel_sequence: u32) -> Exit {
        let TaskState { tgid, version, .. } = self.life;
        let mut task = self.life.stats();
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
        let places = (expected * 4).next_power_of_two();
        Self {
            places: vec![None; places],
            groups: Vec::new(),
            free: Vec::new(),
            count: 0,
            next_pid: 1,
        }
    }

    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// Starts a process; returns its id, or `None` when all ids are taken.
    pub(super) fn spawn(&mut self, birth: NewTask, workload_index: Option<usize>) -> Option<u32> {
        let pid = self.take_pid()?;
        let leader = Task { pid, seed: birth.seed, born: birth.born };
        let group = Group {
            leader,
            leader_status: None,
            threads: Vec::new(),
            program: birth.program % PROGRAMS.len(),
            dead: None,
            workload_index,
        };
        let index = self.free.pop().unwrap_or(self.groups.len());
        if index == self.groups.len() {
            self.groups.push(None);
        }
        self.groups[index] = Some(group);
        self.settle(pid, index);
        Some(pid)
    }

    /// Starts a thread of a group that has a live task with this id; returns its id.
    pub(super) fn spawn_thread(&mut self, of: u32, birth: NewTask) -> Option<u32> {
        let index = self.group_index(of)?;
        let pid = self.take_pid()?;
        self.group_mut(index)?.threads.push(Task { pid, seed: birth.seed, born: birth.born });
        self.settle(pid, index);
        Some(pid)
    }

    /// Ends a task; `None` if no live one has this id.
    pub(super) fn exit(
        &mut self,
        pid: u32,
        status: u32,
        at: SimTime,
        spec: &Spec,
    ) -> Option<EndedTask> {
        let index = self.group_index(pid)?;
        let group = self.group_mut(index)?;
        let task = *group.living().find(|task| task.pid == pid)?;
        let group_ended = !group.has_several();
        let life = group.life(&task, at, spec);
        if group.dead.is_some() || !group_ended {
            group.dead.get_or_insert_default().add_dead(&life.stats());
        }
        let is_leader = group.leader.pid == pid;
        let death = EndedTask {
            life,
            status,
            flags: exit_flags(status, is_leader, group_ended),
            group: group.dead.take_if(|_| group_ended),
            workload_index: group.workload_index.filter(|_| group_ended),
        };
        self.bury(index, pid, status, group_ended);
        Some(death)
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

    /// The account of a task, alive or waiting to be reaped.
    pub(super) fn task(&self, pid: u32, at: SimTime, spec: &Spec) -> Option<Stats> {
        let group = self.group(self.group_index(pid)?)?;
        if let (true, Some(status)) = (group.leader.pid == pid, group.leader_status) {
            let mut stats = group.life(&group.leader, at, spec).stats();
            stats.exit_status = Some(status);
            // It has given its memory back.
            stats.memory = None;
            return Some(stats);
        }
        let task = group.living().find(|task| task.pid == pid)?;
        Some(group.life(task, at, spec).stats())
    }

    /// The sums of a group, found by the id of any of its tasks.
    pub(super) fn group_sums(&self, pid: u32, at: SimTime, spec: &Spec) -> Option<Stats> {
        let group = self.group(self.group_index(pid)?)?;
        let mut totals = group.dead.as_deref().cloned().unwrap_or_default();
        for task in group.living() {
            totals.add_living(&group.life(task, at, spec).stats());
        }
        Some(totals.stats(pid, spec.version))
    }

    /// The tasks of a group, ascending, a leader that waits for the others included.
    pub(super) fn threads(&self, tgid: u32) -> Option<Vec<u32>> {
        let group = self.group(self.group_index(tgid)?)?;
        let mut threads: Vec<u32> = group.threads.iter().map(|thread| thread.pid).collect();
        threads.push(group.leader.pid);
        threads.sort_unstable();
        Some(threads)
    }

    /// The living tasks of a group: the leader first, if it lives.
    pub(super) fn living(&self, tgid: u32) -> Vec<u32> {
        let group = self.group_index(tgid).and_then(|index| self.group(index));
        group.map_or_else(Vec::new, |group| group.living().map(|task| task.pid).collect())
    }

    /// Tells a group of the workload its new place in the workload's list.
    pub(super) fn set_workload_index(&mut self, tgid: u32, workload_index: usize) {
        let index = self.group_index(tgid);
        if let Some(group) = index.and_then(|index| self.group_mut(index)) {
            group.workload_index = Some(workload_index);
        }
    }

    fn group_index(&self, pid: u32) -> Option<usize> {
        let place = self.places[self.place(pid)]?;
        (place.pid == pid).then_some(place.group)
    }

    fn group(&self, index: usize) -> Option<&Group> {
        self.groups.get(index)?.as_ref()
    }

    fn group_mut(&mut self, index: usize) -> Option<&mut Group> {
        self.groups.get_mut(index)?.as_mut()
    }

    fn place(&self, pid: u32) -> usize {
        pid as usize & (self.places.len() - 1)
    }

    /// The next id that nobody has, and whose place is free.
    fn take_pid(&mut self) -> Option<u32> {
        if (self.count + 1) * 2 > self.places.len() && self.places.len() < PID_LIMIT as usize {
            self.grow();
        }
        for _ in 0..self.places.len() {
            let pid = self.next_pid;
            self.next_pid = if pid + 1 < PID_LIMIT { pid + 1 } else { FIRST_PID_AGAIN };
            if self.places[self.place(pid)].is_none() {
                return Some(pid);
            }
        }
        None
    }

    /// Doubles the places. Ids that differ in their low bits differ in more of them.
    fn grow(&mut self) {
        let old = std::mem::take(&mut self.places);
        self.places = vec![None; old.len() * 2];
        for place in old.into_iter().flatten() {
            let at = self.place(place.pid);
            self.places[at] = Some(place);
        }
    }

    fn settle(&mut self, pid: u32, group: usize) {
        let at = self.place(pid);
        self.places[at] = Some(PidSlot { pid, group });
        self.count += 1;
    }

    fn vacate(&mut self, pid: u32) {
        let at = self.place(pid);
        self.places[at] = None;
        self.count -= 1;
    }
}

impl Group {
    fn has_several(&self) -> bool {
        self.threads.len() + usize::from(self.leader_status.is_none()) > 1
    }

    fn living(&self) -> impl Iterator<Item = &Task> {
        let leader = self.leader_status.is_none().then_some(&self.leader);
        leader.into_iter().chain(&self.threads)
    }

    fn life(&self, task: &Task, at: SimTime, spec: &Spec) -> TaskState {
        let age_us = |born: Duration| {
            u64::try_from(at.now.saturating_sub(born).as_micros()).unwrap_or(u64::MAX)
        };
        TaskState {
            pid: task.pid,
            tgid: self.leader.pid,
            seed: task.seed,
            program: PROGRAMS[self.program],
            began_at: at.booted_at + task.born,
            age_us: age_us(task.born),
            group_age_us: age_us(self.leader.born),
            version: spec.version,
            delay_accounting: at.accounted_since.is_some_and(|since| task.born >= since),
        }
    }
}

/// The accounting flags of a task that ended. A thread was forked and executes nothing of its own.
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

    const BIRTH: NewTask = NewTask { program: 1, seed: 5, born: Duration::ZERO };
    const NOW: SimTime =
        SimTime { now: Duration::from_secs(9), booted_at: Duration::ZERO, accounted_since: None };

    /// After the last id come those that are free, and whoever lives keeps his.
    #[test]
    fn ids_are_used_again() {
        let (mut tasks, spec) = (Tasks::new(1), Spec::default());
        let init = tasks.spawn(BIRTH, None);
        tasks.next_pid = PID_LIMIT - 2;
        let pids: Vec<_> = (0..4).map(|_| tasks.spawn(BIRTH, None).unwrap()).collect();
        assert_eq!(init, Some(1));
        let expected = [PID_LIMIT - 2, PID_LIMIT - 1, FIRST_PID_AGAIN, FIRST_PID_AGAIN + 1];
        assert_eq!(pids, expected);
        for pid in [1, PID_LIMIT - 2, PID_LIMIT - 1, FIRST_PID_AGAIN] {
            assert_eq!(tasks.task(pid, NOW, &spec).unwrap().identity.pid, Some(pid));
        }
        assert_eq!(tasks.task(2, NOW, &spec), None);
    }

    /// However many live, each is found, and nobody else.
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
