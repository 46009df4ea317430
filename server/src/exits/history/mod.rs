//! The history: a byte-bounded sequence of chunks and kernel losses, with one writer
//! and any number of readers, each with its cursor.
//!
//! Every exit that the kernel sent has a sequence number, also one that it then dropped. So sequences
//! count sent exits, and every reader can check that received + lost = sent.

mod chunk;
mod evicted_counts;
mod item;
mod read_cursor;
mod selection;
mod sequence;
mod snapshot;
mod totals;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use self::chunk::Chunk;
use self::evicted_counts::EvictedCounts;
use self::item::HistoryItem;
use self::sequence::FIRST_SEQUENCE;
use self::snapshot::to_ns;
use self::totals::{Selected, Tallier, Totals};
use crate::taskstats::Cpumask;
use crate::workload::CgroupTable;

pub(super) use self::chunk::ChunkBuilder;
pub(crate) use self::item::{CgroupCounts, KernelLoss};
pub(super) use self::read_cursor::{ReadCursor, ReadOutcome};
#[cfg(test)]
pub(crate) use self::selection::ExitKind;
pub use self::selection::{Scope, Selection};
pub(crate) use self::snapshot::{HistorySnapshot, InvalidSnapshot, ItemSnapshot};

/// The share of the history's memory, one in this many bytes, for counts of evicted exits.
const EVICTED_COUNTS_SHARE: usize = 32;
/// Items that are read in one hold of the lock, since the writer may wait for it.
const SNAPSHOT_ITEMS: usize = 32;

/// Keeps the newest exits within a number of bytes.
#[derive(Debug)]
pub(crate) struct History {
    inner: Mutex<Inner>,
    capacity: usize,
    /// The cgroups that exits refer to.
    cgroups: Arc<CgroupTable>,
}

#[derive(Debug)]
struct Inner {
    items: VecDeque<HistoryItem>,
    /// Memory of `items`.
    bytes: usize,
    /// The sequence of the next exit.
    next: u64,
    /// All that was ever appended.
    appended: Totals,
    /// The part of it that was evicted.
    evicted: Totals,
    /// When the newest evicted exit was received, since 1970.
    evicted_at: Duration,
    /// The counts of recently evicted exits.
    evicted_counts: EvictedCounts,
    tallier: Tallier,
}

/// The start of a watcher.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Start {
    /// After the newest exit.
    #[default]
    Now,
    /// After the exit with this sequence.
    After(u64),
    /// With this many of the newest selected exits, or fewer if the history has fewer.
    Last(u64),
}

/// A sequence beyond the newest exit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("sequence {sequence} lies in the future; the newest exit has {newest}")]
pub struct FutureSequence {
    /// The requested sequence.
    pub(crate) sequence: u64,
    /// The sequence of the newest exit; 0 when there was none.
    pub(crate) newest: u64,
}

/// A reader's first cursor, and what it has already missed.
#[derive(Clone, Copy, Debug)]
pub(super) struct StartPoint {
    pub(super) cursor: ReadCursor,
    pub(super) missed: Option<MissedRange>,
}

/// Exits between the requested start of a reader and the oldest exit of the history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct MissedRange {
    /// The number of selected exits; `None` if it is no longer known.
    pub(super) count: Option<u64>,
    /// All of them exited before this time, since 1970.
    pub(super) last_at: Duration,
}

/// The state of the history, for `GetNode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HistoryReport {
    /// Sequence of the oldest exit; 0 if the history is empty.
    pub(crate) first_sequence: u64,
    /// Sequence of the newest exit; 0 when there was none.
    pub(crate) last_sequence: u64,
    /// Memory in use, in bytes.
    pub(crate) bytes: usize,
    /// Memory limit, in bytes.
    pub(crate) capacity: usize,
}

impl History {
    /// Begins an empty history of at most `capacity` bytes for CPUs with numbers below `cpus`.
    #[must_use]
    pub(crate) fn new(capacity: usize, cpus: usize, cgroups: Arc<CgroupTable>) -> Self {
        let inner = Inner {
            items: VecDeque::new(),
            bytes: 0,
            next: FIRST_SEQUENCE,
            appended: Totals::new(cpus),
            evicted: Totals::new(cpus),
            evicted_at: Duration::ZERO,
            evicted_counts: EvictedCounts::new(capacity / EVICTED_COUNTS_SHARE),
            tallier: Tallier::new(cpus),
        };
        Self { inner: Mutex::new(inner), capacity, cgroups }
    }

    /// Restores a history, as far as it fits into `capacity` bytes.
    ///
    /// # Errors
    /// When it contradicts itself, or is of a machine with other CPUs.
    pub(crate) fn restore(
        saved: HistorySnapshot,
        capacity: usize,
        cpus: usize,
        cgroups: Arc<CgroupTable>,
    ) -> Result<Self, InvalidSnapshot> {
        saved.check()?;
        let history = Self::new(capacity, cpus, cgroups);
        let mut inner = history.lock();
        inner.evicted = Totals::restore(&saved.evicted, cpus)?;
        inner.appended = inner.evicted.clone();
        inner.evicted_at = Duration::from_nanos(saved.evicted_at_ns);
        inner.next = saved.first();
        for item in saved.items {
            inner.append(HistoryItem::restore(item, cpus, &history.cgroups)?, capacity);
        }
        drop(inner);
        Ok(history)
    }

    /// Returns the whole history, for the next run.
    #[must_use]
    pub(crate) fn snapshot(&self) -> HistorySnapshot {
        let inner = self.lock();
        HistorySnapshot {
            next: inner.next,
            evicted: inner.evicted.snapshot(),
            evicted_at_ns: to_ns(inner.evicted_at),
            items: inner.items.iter().map(HistoryItem::snapshot).collect(),
        }
    }

    /// Returns the state, for `GetNode`.
    #[must_use]
    pub(crate) fn report(&self) -> HistoryReport {
        let inner = self.lock();
        let first_sequence = if inner.items.is_empty() { 0 } else { inner.first() };
        HistoryReport {
            first_sequence,
            last_sequence: inner.next - FIRST_SEQUENCE,
            bytes: inner.bytes + inner.evicted_counts.memory(),
            capacity: self.capacity,
        }
    }

    /// The cgroups that exits refer to.
    #[must_use]
    pub(crate) fn cgroups(&self) -> &CgroupTable {
        &self.cgroups
    }

    /// The sequence of the next exit.
    pub(super) fn next_sequence(&self) -> u64 {
        self.lock().next
    }

    /// Appends a chunk that begins with [`History::next_sequence`].
    pub(super) fn append_exits(&self, chunk: Chunk) {
        let mut inner = self.lock();
        debug_assert_eq!(chunk.first(), inner.next, "the writer's sequence is the history's");
        let evicted = inner.append(HistoryItem::Exits(Arc::new(chunk)), self.capacity);
        drop(inner);
        // Freed without the lock.
        drop(evicted);
    }

    /// Appends a loss, which has as many sequence numbers as exits.
    pub(super) fn append_lost(&self, loss: KernelLoss) {
        let mut inner = self.lock();
        let first = inner.next;
        let evicted = inner.append(HistoryItem::Lost { first, loss }, self.capacity);
        drop(inner);
        drop(evicted);
    }

    /// Says that listening on `cpus` begins now, and that it was not done before. The first listening
    /// of a run leaves no mark: no cursor is older.
    pub(super) fn append_unwatched(&self, cpus: Cpumask, until: Duration) {
        let mut inner = self.lock();
        let first = inner.next;
        let item = HistoryItem::Unwatched { first, cpus: Arc::new(cpus), until };
        let evicted = inner.append(item, self.capacity);
        drop(inner);
        drop(evicted);
    }

    /// Finds the cursor where a reader of `selection` begins.
    ///
    /// # Errors
    /// When the cursor is after an exit that has not happened.
    pub(super) fn begin(
        &self,
        start: Start,
        selection: &Selection,
        now: Duration,
    ) -> Result<StartPoint, FutureSequence> {
        let inner = self.lock();
        match start {
            Start::Now => Ok(inner.begin_at(inner.next, selection, now)),
            Start::Last(count) => {
                Ok(inner.begin_at(inner.nth_last(count, selection), selection, now))
            }
            Start::After(sequence) if sequence >= inner.next => {
                Err(FutureSequence { sequence, newest: inner.next - FIRST_SEQUENCE })
            }
            Start::After(sequence) => Ok(inner.begin_at(sequence + 1, selection, now)),
        }
    }

    /// Reads the items at `cursor` and moves it behind them.
    pub(super) fn read(&self, cursor: &mut ReadCursor, selection: &Selection) -> ReadOutcome {
        loop {
            let items = match self.lookup(cursor, selection) {
                Lookup::Evicted(reading) => return reading,
                Lookup::Items(items) => items,
            };
            if items.is_empty() {
                return ReadOutcome::Nothing;
            }
            if let Some(reading) = cursor.take(&items, selection) {
                return reading;
            }
        }
    }

    /// Clones handles of the items at `cursor`, so that the lock is held for a short time.
    fn lookup(&self, cursor: &mut ReadCursor, selection: &Selection) -> Lookup {
        let inner = self.lock();
        if cursor.next < inner.first() {
            let selected_before = inner.evicted.selected(selection);
            let missed = selected_before.since(cursor.selected_before);
            let exact = !inner.evicted.unwatched_since(cursor.next, selection);
            // The clock may have been set back in between.
            let (first_at, last_at) = (cursor.at.min(inner.evicted_at), inner.evicted_at);
            *cursor = ReadCursor { next: inner.first(), selected_before, at: last_at };
            if !exact || missed != Selected::default() {
                let count = exact.then_some(missed.exits + missed.lost);
                return Lookup::Evicted(ReadOutcome::Evicted { count, first_at, last_at });
            }
        }
        let start = inner.items.partition_point(|item| item.next() <= cursor.next);
        Lookup::Items(inner.items.range(start..).take(SNAPSHOT_ITEMS).cloned().collect())
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

enum Lookup {
    Items(Vec<HistoryItem>),
    Evicted(ReadOutcome),
}

impl Inner {
    /// Returns the cursor of a reader whose next exit is `next`, or else the oldest one.
    fn begin_at(&self, next: u64, selection: &Selection, now: Duration) -> StartPoint {
        if next >= self.next {
            let selected_before = self.appended.selected(selection);
            return StartPoint {
                cursor: ReadCursor { next, selected_before, at: now },
                missed: None,
            };
        }
        let oldest = self.first();
        let mut cursor = ReadCursor {
            next: oldest,
            selected_before: self.evicted.selected(selection),
            at: self.evicted_at,
        };
        if next < oldest {
            let exact = !self.evicted.unwatched_since(next, selection);
            let count = self.evicted_counts.selected(next, oldest, selection).filter(|_| exact);
            let missed = MissedRange { count, last_at: self.evicted_at };
            return StartPoint { cursor, missed: (count != Some(0)).then_some(missed) };
        }
        cursor.advance_to(&self.items, next, selection);
        StartPoint { cursor, missed: None }
    }

    /// The sequence of the `count`th selected exit from the end, or of the oldest exit.
    fn nth_last(&self, count: u64, selection: &Selection) -> u64 {
        let mut left = count;
        for item in self.items.iter().rev() {
            let HistoryItem::Exits(chunk) = item else { continue };
            if left == 0 {
                return chunk.next();
            }
            match chunk.nth_last(left, selection) {
                Ok(sequence) => return sequence,
                Err(fewer) => left -= fewer,
            }
        }
        if count == 0 { self.next } else { self.first() }
    }

    /// The sequence of the oldest exit, or else of the next one.
    fn first(&self) -> u64 {
        self.items.front().map_or(self.next, HistoryItem::first)
    }

    /// Appends an item and returns those that no longer fit. The newest item always stays.
    fn append(&mut self, item: HistoryItem, capacity: usize) -> Vec<HistoryItem> {
        item.add_to(&mut self.appended);
        self.next = item.next();
        self.bytes += item.memory();
        self.items.push_back(item);
        let mut evicted = Vec::new();
        while self.bytes + self.evicted_counts.memory() > capacity && self.items.len() > 1 {
            let Some(item) = self.items.pop_front() else { break };
            self.bytes -= item.memory();
            self.evicted_at = item.last_at();
            let tally = item.tally(&mut self.tallier);
            self.evicted.add(&tally);
            self.evicted_counts.push(item.first(), tally);
            evicted.push(item);
        }
        evicted
    }
}

#[cfg(test)]
mod tests;
