//! What each process used in all: sums over its threads, for the exit of the last one.
//!
//! The kernel sends the exit of a process' last thread with a record of the group, which lacks most
//! numbers. So the records of the threads that exit earlier are added up until then. The last exit is
//! often received before those of other threads, which exited on other CPUs at the same time. It
//! therefore waits until every socket was read once more.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use crate::taskstats::{Exit, ProcessTotals, Stats};

/// Time for which the exit of a last thread waits.
const WAIT: Duration = Duration::from_millis(1);
/// A process that began so long after a thread had exited is another one than that of the thread. Times of
/// receipt are those at which a drain began, so a thread may have exited later.
const CERTAINLY_LATER: Duration = Duration::from_secs(1);
/// Processes whose exited threads are remembered.
const MAX_PROCESSES: usize = 4_096;
/// Last exits that wait. When there are more, the one that waited longest waits no longer.
const MAX_WAITING: usize = 1_024;

/// Bytes that [`ProcessEnds`] holds at most. A hash table that has just grown is half full; an exit owns
/// the record of its group.
pub(crate) const PROCESS_ENDS_BYTES: usize = MAX_PROCESSES
    * (2 * size_of::<(u32, Exited)>() + size_of::<ProcessTotals>())
    + MAX_WAITING * (size_of::<WaitingExit>() + size_of::<Stats>());
const _: () = assert!(PROCESS_ENDS_BYTES < 6 << 20, "ARCHITECTURE.md says less than 6 MiB");

/// Adds up the exits of threads by process, and keeps the last exit of each process for a moment.
#[derive(Debug, Default)]
pub(super) struct ProcessEnds {
    /// By process id.
    exited: HashMap<u32, Exited>,
    /// In the order in which they were received.
    waiting: VecDeque<WaitingExit>,
}

/// The threads of a live process that have exited.
#[derive(Debug)]
struct Exited {
    totals: Box<ProcessTotals>,
    /// The time at which the last one was received, since 1970.
    received_at: Duration,
}

/// The last exit of a process.
#[derive(Debug)]
struct WaitingExit {
    exit: Exit,
    received_at: Duration,
    /// The time at which it is passed on. `None` until the drain that received it has ended.
    due: Option<Instant>,
}

/// What the reader does with an exit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Disposition {
    /// It is passed on now.
    PassOn,
    /// A copy of it waits here.
    Waits,
}

impl ProcessEnds {
    /// Adds an exit that was received at a time since 1970.
    ///
    /// Before v12 the kernel says neither of which process a thread was, nor which one was its last.
    pub(super) fn receive(&mut self, exit: &Exit, received_at: Duration) -> Disposition {
        let (Some(tgid), Some(is_last)) = (exit.task.identity.tgid, exit.last_in_process()) else {
            return Disposition::PassOn;
        };
        if is_last && exit.process.is_none() {
            // A process with a single thread. What is known of its id is of an earlier process, whose
            // last exit was lost.
            self.exited.remove(&tgid);
            return Disposition::PassOn;
        }
        self.add(tgid, exit, received_at);
        if !is_last {
            return Disposition::PassOn;
        }
        self.waiting.push_back(WaitingExit { exit: exit.clone(), received_at, due: None });
        Disposition::Waits
    }

    fn add(&mut self, tgid: u32, exit: &Exit, received_at: Duration) {
        if self.exited.len() >= MAX_PROCESSES && !self.exited.contains_key(&tgid) {
            self.forget_older_half();
        }
        let exited = self.exited.entry(tgid);
        let exited = exited.or_insert_with(|| Exited { totals: Box::default(), received_at });
        if began_after(exit, received_at, exited.received_at) {
            *exited.totals = ProcessTotals::default();
        }
        exited.totals.add(&exit.task);
        exited.received_at = received_at;
    }

    /// Makes room. The last exit of a process that is forgotten has totals that are not complete.
    fn forget_older_half(&mut self) {
        let mut times: Vec<Duration> = self.exited.values().map(|it| it.received_at).collect();
        let middle = times.len() / 2;
        let (_, median, _) = times.select_nth_unstable(middle);
        let median = *median;
        self.exited.retain(|_, exited| exited.received_at > median);
        tracing::debug!(
            kept = self.exited.len(),
            "forgot threads of processes with many: their totals will not be complete"
        );
    }

    /// Notes that a drain which began at `now` has read every socket until it was empty.
    pub(super) fn all_were_read(&mut self, now: Instant) {
        for waiting in self.waiting.iter_mut().rev() {
            if waiting.due.is_some() {
                break;
            }
            waiting.due = Some(now + WAIT);
        }
    }

    /// Takes the next exit that has waited long enough, with its totals, and when it was received.
    pub(super) fn next_due(&mut self, now: Instant) -> Option<(Exit, Duration)> {
        if self.due()? <= now { self.next() } else { None }
    }

    /// Takes the exit that has waited longest, if too many wait.
    pub(super) fn next_beyond_limit(&mut self) -> Option<(Exit, Duration)> {
        if self.waiting.len() > MAX_WAITING { self.next() } else { None }
    }

    /// Takes the exit that has waited longest, with its totals, and when it was received.
    pub(super) fn next(&mut self) -> Option<(Exit, Duration)> {
        let WaitingExit { mut exit, received_at, .. } = self.waiting.pop_front()?;
        let exited = exit.task.identity.tgid.and_then(|tgid| self.exited.remove(&tgid));
        exit.process_totals = exited.map(|exited| exited.totals);
        if let Some((totals, process)) = exit.process_totals.as_mut().zip(exit.process.as_ref()) {
            totals.compare(process);
        }
        Some((exit, received_at))
    }

    /// When the next exit is due.
    pub(super) fn due(&self) -> Option<Instant> {
        self.waiting.front().and_then(|waiting| waiting.due)
    }

    /// Forgets the threads of live processes: further ones may exit unseen.
    pub(super) fn forget(&mut self) {
        self.exited.clear();
    }
}

/// Returns whether the process of an exit certainly began after `earlier`, so that an exit of then was of
/// another process with the same id.
fn began_after(exit: &Exit, received_at: Duration, earlier: Duration) -> bool {
    let ended_at = exit.ended_at.unwrap_or(received_at);
    let age = exit.task.group_elapsed_us.map(Duration::from_micros);
    age.and_then(|age| ended_at.checked_sub(age))
        .is_some_and(|began| began > earlier + CERTAINLY_LATER)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::taskstats::{Delay, DelayClass, Identity, TaskIdentity};

    const PROCESS: u32 = 100;
    /// `AGROUP` of the kernel's `include/uapi/linux/acct.h`.
    const LAST_OF_GROUP: u8 = 0x20;

    fn stats(on_cpu: u64, identity: Identity) -> Stats {
        let mut stats = Stats { version: 16, identity, ..Stats::default() };
        stats.delays[DelayClass::Cpu as usize] = Some(Delay { count: on_cpu, ..Delay::default() });
        stats
    }

    /// A thread that was put on a CPU so often.
    fn thread(tgid: u32, on_cpu: u64) -> Exit {
        let task = Some(TaskIdentity::default());
        let identity = Identity { pid: Some(tgid + 1), tgid: Some(tgid), task };
        Exit { task: stats(on_cpu, identity), ..Exit::default() }
    }

    fn mark_as_last(mut exit: Exit) -> Exit {
        if let Some(task) = &mut exit.task.identity.task {
            task.flags = LAST_OF_GROUP;
        }
        exit
    }

    /// The last thread of a process whose threads were put on a CPU so often together.
    fn last_thread(tgid: u32, on_cpu: u64, together: u64) -> Exit {
        let process = Some(Box::new(stats(together, Identity::default())));
        Exit { process, ..mark_as_last(thread(tgid, on_cpu)) }
    }

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// Returns the threads of the next exit that was waiting, and whether they are all.
    fn next(ends: &mut ProcessEnds) -> Option<(u32, bool)> {
        let totals = ends.next()?.0.process_totals?;
        Some((totals.threads, totals.complete))
    }

    #[test]
    fn an_end_waits_until_every_socket_was_read_once_more() {
        let mut ends = ProcessEnds::default();
        let began = Instant::now();
        assert_eq!(ends.receive(&thread(PROCESS, 2), seconds(1)), Disposition::PassOn);
        assert_eq!(ends.receive(&last_thread(PROCESS, 1, 6), seconds(2)), Disposition::Waits);
        assert_eq!(ends.due(), None, "the drain that received it has not ended");
        assert!(ends.next_due(began + WAIT).is_none());
        ends.all_were_read(began);
        assert_eq!(ends.due(), Some(began + WAIT));
        assert!(ends.next_due(began).is_none());
        // A thread that exited on another CPU at the same time.
        ends.receive(&thread(PROCESS, 3), seconds(2));
        let (exit, received_at) = ends.next_due(began + WAIT).expect("it is due");
        let totals = exit.process_totals.expect("it has totals");
        assert_eq!((totals.threads, totals.complete, received_at), (3, true, seconds(2)));
        assert_eq!((ends.due(), ends.exited.len()), (None, 0));
    }

    #[test]
    fn a_process_with_a_thread_that_exited_unseen_is_not_complete() {
        let mut ends = ProcessEnds::default();
        ends.receive(&last_thread(PROCESS, 1, 6), seconds(2));
        assert_eq!(next(&mut ends), Some((1, false)));
    }

    #[test]
    fn a_process_with_a_single_thread_waits_for_none() {
        let mut ends = ProcessEnds::default();
        let single = mark_as_last(thread(PROCESS, 1));
        assert_eq!(ends.receive(&single, seconds(1)), Disposition::PassOn);
        assert!(ends.next().is_none());
    }

    /// The last exit of an earlier process with the same id was lost.
    #[test]
    fn threads_of_an_earlier_process_are_not_added() {
        let mut ends = ProcessEnds::default();
        // A process with a single thread had the id in between.
        ends.receive(&thread(PROCESS, 9), seconds(1));
        ends.receive(&mark_as_last(thread(PROCESS, 1)), seconds(2));
        ends.receive(&last_thread(PROCESS, 1, 1), seconds(3));
        assert_eq!(next(&mut ends), Some((1, true)));
        // The next one began after the threads had exited.
        ends.receive(&thread(PROCESS, 9), seconds(1));
        let mut young = last_thread(PROCESS, 1, 1);
        young.task.group_elapsed_us = Some(500_000);
        ends.receive(&young, seconds(4));
        assert_eq!(next(&mut ends), Some((1, true)));
    }

    /// The thread exited while a drain was under way, and has the time at which that began.
    #[test]
    fn a_process_that_began_during_a_drain_keeps_its_threads() {
        let mut ends = ProcessEnds::default();
        ends.receive(&thread(PROCESS, 2), seconds(1));
        let mut last = last_thread(PROCESS, 1, 3);
        last.ended_at = Some(Duration::from_millis(1_020));
        last.task.group_elapsed_us = Some(15_000);
        ends.receive(&last, seconds(1));
        assert_eq!(next(&mut ends), Some((2, true)));
    }

    #[test]
    fn before_v12_nothing_is_added() {
        let mut ends = ProcessEnds::default();
        let mut old = last_thread(PROCESS, 1, 1);
        old.task.version = 11;
        old.task.identity.tgid = None;
        assert_eq!(ends.receive(&old, seconds(1)), Disposition::PassOn);
    }

    /// However many processes have lost a thread, the memory has a bound, and the totals of those that
    /// are forgotten are not complete.
    #[test]
    fn the_processes_that_are_quiet_longest_are_forgotten() {
        let mut ends = ProcessEnds::default();
        let processes = 2 * u32::try_from(MAX_PROCESSES).expect("a small number");
        for tgid in 1..=processes {
            ends.receive(&thread(tgid, 1), seconds(tgid.into()));
            assert!(ends.exited.len() <= MAX_PROCESSES);
        }
        for (tgid, totals) in [(1, (1, false)), (processes, (2, true))] {
            ends.receive(&last_thread(tgid, 1, 2), seconds(u64::from(processes) + 1));
            assert_eq!(next(&mut ends), Some(totals), "process {tgid}");
        }
    }

    #[test]
    fn too_many_ends_do_not_wait() {
        let mut ends = ProcessEnds::default();
        for tgid in 1..=u32::try_from(MAX_WAITING).expect("a small number") + 1 {
            assert!(ends.next_beyond_limit().is_none());
            ends.receive(&last_thread(tgid, 1, 1), seconds(1));
        }
        assert!(ends.next_beyond_limit().is_some());
        assert!(ends.next_beyond_limit().is_none());
        assert_eq!(ends.waiting.len(), MAX_WAITING);
    }
}
