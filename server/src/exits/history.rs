//! What the agent remembers: a byte-bounded sequence of chunks and kernel losses, with one writer
//! and any number of readers, each with a position of its own.
//!
//! Every exit that the kernel sent takes a sequence number, also one that it then dropped. So
//! sequences count what was sent, and a reader can check for itself that received + lost = sent.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;

use super::chunk::Chunk;
use super::selection::Selection;
use super::totals::{Selected, Totals};

/// Sequence of the first exit.
pub(super) const FIRST_SEQUENCE: u64 = 1;
/// Exits in one batch for a reader, but for the last chunk that goes over it. Larger batches are
/// slower to decode, smaller ones cost more frames.
const BATCH_EVENTS: u64 = 256;
/// Items looked at under the lock at once, which the writer may be waiting for.
const SNAPSHOT_ITEMS: usize = 32;

/// Remembers exits up to a number of bytes.
#[derive(Debug)]
pub struct History {
    inner: Mutex<Inner>,
    capacity: usize,
}

#[derive(Debug)]
struct Inner {
    items: VecDeque<Item>,
    /// Memory of `items`.
    bytes: usize,
    /// The sequence that the next exit takes.
    next: u64,
    /// All that was ever appended.
    appended: Totals,
    /// The part of it that was evicted.
    evicted: Totals,
    /// When the newest evicted exit was received, since 1970.
    evicted_at: Duration,
}

#[derive(Clone, Debug)]
enum Item {
    Exits(Arc<Chunk>),
    Lost { first: u64, loss: KernelLoss },
}

/// Exits of one CPU that the kernel dropped, in place of their sequence numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KernelLoss {
    /// The CPU.
    pub cpu: u32,
    /// How many.
    pub count: u64,
    /// They exited after this moment, since 1970,
    pub first_at: Duration,
    /// and before this one.
    pub last_at: Duration,
}

/// Where a reader is. It belongs to one selection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Position {
    /// The sequence that it wants next.
    next: u64,
    /// What its selection takes of all before that.
    passed: Selected,
    /// When the newest exit before that was received, since 1970.
    at: Duration,
}

/// What a reader finds at its position.
#[derive(Debug)]
pub(super) enum Reading {
    /// Encoded exits: entries of `ExitEvents.events`.
    Exits { slices: Vec<Bytes>, count: u64 },
    /// The kernel dropped exits here.
    Lost(KernelLoss),
    /// What stood here was evicted.
    Evicted { missed: Selected, first_at: Duration, last_at: Duration },
    /// The end.
    Nothing,
}

/// The state of the history, for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HistoryReport {
    /// Sequence of the oldest exit remembered; 0 when there is none.
    pub first_sequence: u64,
    /// Sequence of the newest exit; 0 when there was none.
    pub last_sequence: u64,
    /// Memory held, bytes.
    pub bytes: usize,
    /// Memory that may be held, bytes.
    pub capacity: usize,
}

impl History {
    /// Begins an empty history of at most `capacity` bytes for CPUs with numbers below `cpus`.
    #[must_use]
    pub fn new(capacity: usize, cpus: usize) -> Self {
        let inner = Inner {
            items: VecDeque::new(),
            bytes: 0,
            next: FIRST_SEQUENCE,
            appended: Totals::new(cpus),
            evicted: Totals::new(cpus),
            evicted_at: Duration::ZERO,
        };
        Self { inner: Mutex::new(inner), capacity }
    }

    /// The state, for people.
    #[must_use]
    pub fn report(&self) -> HistoryReport {
        let inner = self.lock();
        let first_sequence = if inner.items.is_empty() { 0 } else { inner.first() };
        HistoryReport {
            first_sequence,
            last_sequence: inner.next - FIRST_SEQUENCE,
            bytes: inner.bytes,
            capacity: self.capacity,
        }
    }

    /// The sequence that the next exit takes.
    pub(super) fn next_sequence(&self) -> u64 {
        self.lock().next
    }

    /// Appends a chunk that begins with [`History::next_sequence`].
    pub(super) fn append_exits(&self, chunk: Chunk) {
        let mut inner = self.lock();
        debug_assert_eq!(chunk.first(), inner.next, "the writer's sequence is the history's");
        for (cpu, fate) in chunk.exits(chunk.first()) {
            inner.appended.add_exit(cpu, fate);
        }
        inner.next = chunk.next();
        let evicted = inner.append(Item::Exits(Arc::new(chunk)), self.capacity);
        drop(inner);
        // Freed without the lock.
        drop(evicted);
    }

    /// Appends a loss, which takes as many sequence numbers as there were exits.
    pub(super) fn append_lost(&self, loss: KernelLoss) {
        let mut inner = self.lock();
        let first = inner.next;
        inner.appended.add_lost(loss.cpu, loss.count);
        inner.next += loss.count;
        let evicted = inner.append(Item::Lost { first, loss }, self.capacity);
        drop(inner);
        drop(evicted);
    }

    /// The position after the newest exit.
    pub(super) fn end(&self, selection: &Selection, now: Duration) -> Position {
        let inner = self.lock();
        Position { next: inner.next, passed: inner.appended.selected(selection), at: now }
    }

    /// Reads what stands at `position` and moves it behind that.
    pub(super) fn read(&self, position: &mut Position, selection: &Selection) -> Reading {
        loop {
            let snapshot = match self.snapshot(position, selection) {
                Snapshot::Evicted(reading) => return reading,
                Snapshot::Items(items) => items,
            };
            if snapshot.is_empty() {
                return Reading::Nothing;
            }
            if let Some(reading) = position.take(&snapshot, selection) {
                return reading;
            }
        }
    }

    /// Clones handles of what stands at `position`, so that the lock is held shortly.
    fn snapshot(&self, position: &mut Position, selection: &Selection) -> Snapshot {
        let inner = self.lock();
        if position.next < inner.first() {
            let passed = inner.evicted.selected(selection);
            let missed = passed.since(position.passed);
            let (first_at, last_at) = (position.at, inner.evicted_at);
            *position = Position { next: inner.first(), passed, at: last_at };
            if missed != Selected::default() {
                return Snapshot::Evicted(Reading::Evicted { missed, first_at, last_at });
            }
        }
        let start = inner.items.partition_point(|item| item.next() <= position.next);
        Snapshot::Items(inner.items.range(start..).take(SNAPSHOT_ITEMS).cloned().collect())
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

enum Snapshot {
    Items(Vec<Item>),
    Evicted(Reading),
}

impl Inner {
    /// The sequence of the oldest exit remembered, or else of the next one.
    fn first(&self) -> u64 {
        self.items.front().map_or(self.next, Item::first)
    }

    /// Appends an item and takes out those that no longer fit. The newest item always stays.
    fn append(&mut self, item: Item, capacity: usize) -> Vec<Item> {
        self.bytes += item.memory();
        self.items.push_back(item);
        let mut evicted = Vec::new();
        while self.bytes > capacity && self.items.len() > 1 {
            let Some(item) = self.items.pop_front() else { break };
            self.bytes -= item.memory();
            self.count_evicted(&item);
            evicted.push(item);
        }
        evicted
    }

    fn count_evicted(&mut self, item: &Item) {
        match item {
            Item::Exits(chunk) => {
                for (cpu, fate) in chunk.exits(chunk.first()) {
                    self.evicted.add_exit(cpu, fate);
                }
                self.evicted_at = chunk.received_at();
            }
            Item::Lost { loss, .. } => {
                self.evicted.add_lost(loss.cpu, loss.count);
                self.evicted_at = loss.last_at;
            }
        }
    }
}

impl Item {
    fn first(&self) -> u64 {
        match self {
            Self::Exits(chunk) => chunk.first(),
            Self::Lost { first, .. } => *first,
        }
    }

    /// The sequence after the item.
    fn next(&self) -> u64 {
        match self {
            Self::Exits(chunk) => chunk.next(),
            Self::Lost { first, loss } => first + loss.count,
        }
    }

    fn memory(&self) -> usize {
        let outside = match self {
            Self::Exits(chunk) => chunk.memory(),
            Self::Lost { .. } => 0,
        };
        size_of::<Self>() + outside
    }
}

impl Position {
    /// The sequence of the last exit before the position.
    pub(super) fn cursor(&self) -> u64 {
        self.next - FIRST_SEQUENCE
    }

    /// Takes a batch of exits, or a loss, from the front of `items` and moves behind it; `None` when
    /// the selection takes nothing of them.
    fn take(&mut self, items: &[Item], selection: &Selection) -> Option<Reading> {
        let mut slices = Vec::new();
        let mut count = 0;
        for item in items {
            match item {
                Item::Exits(chunk) if count > 0 && count + chunk.len() > BATCH_EVENTS => break,
                Item::Exits(chunk) => {
                    count += chunk.select(self.next, selection, &mut slices);
                    self.at = chunk.received_at();
                }
                Item::Lost { loss, .. } if selection.cpus().contains(loss.cpu) => {
                    if count > 0 {
                        break;
                    }
                    return Some(self.take_lost(item.next(), *loss));
                }
                Item::Lost { .. } => {}
            }
            self.next = item.next();
        }
        self.passed.exits += count;
        (count > 0).then_some(Reading::Exits { slices, count })
    }

    /// Moves behind a loss. A position inside it is told of the rest.
    fn take_lost(&mut self, next: u64, loss: KernelLoss) -> Reading {
        let count = next - self.next;
        self.next = next;
        self.passed.lost += count;
        self.at = loss.last_at;
        Reading::Lost(KernelLoss { count, ..loss })
    }
}
