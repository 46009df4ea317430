//! What the fuzz targets in `tests/fuzz` run, and the tests with their seeds. Not part of the agent.

use std::time::Duration;

use super::history::{Begin, History, Start};
use super::item::KernelLoss;
use super::position::{Position, Reading};
use super::{SavedHistory, Scope, Selection};
use crate::taskstats::Cpumask;

/// Possible CPUs.
const CPUS: u32 = 4;
/// Holds a few chunks only, so that some of what is restored is evicted.
const CAPACITY: usize = 4 * 1024;
/// Exits lost after the restart, in two parts.
const LOST: u64 = 5;

/// Restores a history, reads it from many places, and goes on with it.
///
/// # Panics
/// When one that was taken is not whole: a reader goes astray, or saving it changes it.
pub fn history(saved: SavedHistory, after: u64) {
    let Ok(history) = History::restore(saved, CAPACITY, CPUS as usize) else { return };
    let saved = history.save();
    let again = History::restore(saved.clone(), CAPACITY, CPUS as usize);
    assert_eq!(again.map(|again| again.save()), Ok(saved), "what is saved is taken as it is");
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
fn check_reader(history: &History, begin: Begin, selection: &Selection, newest: u64) {
    let mut position = begin.position;
    assert!(position.cursor() <= newest);
    while position.cursor() < newest {
        let before = position.cursor();
        let Some(told) = read(history, &mut position, selection) else { break };
        let moved = position.cursor().checked_sub(before);
        let moved = moved.expect("a reader went back");
        assert!(told <= moved && moved > 0, "{told} told on {moved} numbers");
        assert!(told == moved || !selection.everything(), "{told} told on {moved} numbers");
    }
    let skips = read(history, &mut position, selection);
    assert_eq!((skips, position.cursor()), (None, newest), "there is more than everything");
}

/// Reads once; says for how many sequence numbers it was told something, or `None` at the end.
fn read(history: &History, position: &mut Position, selection: &Selection) -> Option<u64> {
    match history.read(position, selection) {
        Reading::Nothing => None,
        Reading::Exits { slices, count } => {
            assert!(slices.iter().all(|slice| !slice.is_empty()));
            Some(count)
        }
        Reading::Lost(loss) => Some(loss.count),
        Reading::Unwatched { .. } => Some(1),
        Reading::Evicted { count, .. } => count,
    }
}

/// What happens next takes the next numbers, and one who was there before is told of it.
fn go_on(history: &History, newest: u64) {
    let [everything, ..] = selections();
    let Ok(mut early) = history.begin(Start::Now, &everything, Duration::ZERO) else {
        unreachable!("now is always there");
    };
    let (first_at, last_at) = (Duration::ZERO, Duration::MAX);
    for (cpu, count) in [(0, LOST - 1), (CPUS - 1, 1)] {
        history.append_lost(KernelLoss { cpu, count, first_at, last_at });
    }
    assert_eq!(history.report().last_sequence, newest + LOST);
    let mut told = 0;
    while let Some(count) = read(history, &mut early.position, &everything) {
        told += count;
    }
    assert_eq!(told, LOST);
}
