//! What the fuzz targets in `tests/fuzz` run, and the tests with their seeds. Not part of the agent.

use std::sync::Arc;
use std::time::Duration;

use prost::Message;
use taskstats_proto::v1;

use super::history::{
    CgroupCounts, History, KernelLoss, ReadCursor, ReadOutcome, Start, StartPoint,
};
use super::{HistorySnapshot, Scope, Selection};
use crate::encode::{encode_event, encode_pid_response};
use crate::taskstats::{
    Cpumask, DelayAccounting, TaskId, decode_exit_message, decode_reply_message, fuzzing,
};

/// Possible CPUs.
const CPUS: u32 = 4;
/// Holds a few chunks only, so that some of what is restored is evicted.
const CAPACITY: usize = 4 * 1024;
/// Exits lost after the restart, in two parts.
const LOST: u64 = 5;

/// The first sequence.
const SEQUENCE: u64 = 7;

/// Decodes a datagram as [`fuzzing::datagram`] does, and encodes the exit in it.
///
/// # Panics
/// When what is encoded is no message of the contract, or of another exit.
pub fn datagram(datagram: &[u8]) {
    fuzzing::datagram(datagram);
    let accounting = DelayAccounting::default();
    if let Some(exit) = decode_exit_message(datagram, CPUS - 1) {
        let mut encoded = Vec::new();
        encode_event(&mut encoded, &exit, SEQUENCE, Duration::MAX, accounting);
        let events = v1::ExitEvents::decode(&*encoded).map(|exits| exits.events);
        let [event] = &events.expect("an exit of the contract")[..] else {
            unreachable!("not one exit");
        };
        let number = (event.sequence, event.kernel_sequence, event.cpu);
        assert_eq!(number, (SEQUENCE, exit.kernel_sequence, CPUS - 1));
        assert_eq!(event.process.is_some(), exit.process.is_some());
    }
    for id in [TaskId::Pid(1), TaskId::Tgid(1)] {
        let Some(stats) = decode_reply_message(datagram, id) else { continue };
        let encoded = encode_pid_response(&stats, accounting);
        let response = v1::GetPidResponse::decode(&*encoded).expect("an answer of the contract");
        let version = response.stats.map(|stats| stats.taskstats_version);
        assert_eq!(version, Some(stats.version.into()));
    }
}

/// Restores a history, reads it from many cursors, and appends to it.
///
/// # Panics
/// When one that was taken is not whole: a reader goes astray, or saving it changes it.
pub(crate) fn history(saved: HistorySnapshot, after: u64) {
    let Ok(history) = History::restore(saved, CAPACITY, CPUS as usize, Arc::default()) else {
        return;
    };
    let saved = history.snapshot();
    let again = History::restore(saved.clone(), CAPACITY, CPUS as usize, Arc::default());
    assert_eq!(again.map(|again| again.snapshot()), Ok(saved), "what is saved is taken as it is");
    let newest = history.report().last_sequence;
    for selection in selections() {
        for start in [Start::Now, Start::After(0), Start::After(after), Start::Last(after)] {
            let begin = history.begin(start, &selection, Duration::ZERO);
            let is_future = matches!(start, Start::After(sequence) if sequence > newest);
            assert_eq!(begin.is_err(), is_future, "{start:?} of {newest}");
            let Ok(begin) = begin else { continue };
            check_reader(&history, begin, &selection, newest);
        }
    }
    go_on(&history, newest);
}

fn selections() -> [Selection; 3] {
    let possible: Cpumask = (0..CPUS).collect();
    let some: Cpumask = [1, 2].into_iter().collect();
    [
        Selection::new(possible.clone(), Scope::AllTasks, &possible),
        Selection::new(some.clone(), Scope::Processes, &possible),
        Selection::new(some, Scope::Threads, &possible),
    ]
}

/// A reader comes to the newest exit, never goes back, and one of everything misses nothing.
fn check_reader(history: &History, begin: StartPoint, selection: &Selection, newest: u64) {
    let mut cursor = begin.cursor;
    assert!(cursor.cursor() <= newest);
    while cursor.cursor() < newest {
        let before = cursor.cursor();
        let Some(reported) = read(history, &mut cursor, selection) else { break };
        let moved = cursor.cursor().checked_sub(before);
        let moved = moved.expect("a reader went back");
        assert!(reported <= moved && moved > 0, "{reported} reported on {moved} numbers");
        assert!(
            reported == moved || !selection.everything(),
            "{reported} reported on {moved} numbers"
        );
    }
    let skips = read(history, &mut cursor, selection);
    assert_eq!((skips, cursor.cursor()), (None, newest), "there is more than everything");
}

/// Reads once. Returns the number of sequence numbers that the messages account for; `None` at the end.
fn read(history: &History, cursor: &mut ReadCursor, selection: &Selection) -> Option<u64> {
    match history.read(cursor, selection) {
        ReadOutcome::Nothing => None,
        ReadOutcome::Exits { slices, count, .. } => {
            assert!(slices.iter().all(|slice| !slice.is_empty()));
            Some(count)
        }
        ReadOutcome::Lost(loss) => Some(loss.count),
        ReadOutcome::Unwatched { .. } => Some(1),
        ReadOutcome::Evicted { count, .. } => count,
    }
}

/// Later losses get the next sequences, and an earlier cursor reads them.
fn go_on(history: &History, newest: u64) {
    let [everything, ..] = selections();
    let Ok(mut early) = history.begin(Start::Now, &everything, Duration::ZERO) else {
        unreachable!("now is always there");
    };
    let (first_at, last_at) = (Duration::ZERO, Duration::MAX);
    for (cpu, count) in [(0, LOST - 1), (CPUS - 1, 1)] {
        history.append_lost(KernelLoss {
            cpu,
            count,
            first_at,
            last_at,
            by_cgroup: CgroupCounts::default(),
        });
    }
    assert_eq!(history.report().last_sequence, newest + LOST);
    let mut reported = 0;
    while let Some(count) = read(history, &mut early.cursor, &everything) {
        reported += count;
    }
    assert_eq!(reported, LOST);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seeds::seeds;

    #[test]
    fn every_message_is_encoded() {
        seeds("netlink").iter().for_each(|seed| datagram(seed));
    }
}
