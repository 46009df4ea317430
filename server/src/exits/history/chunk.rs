//! Immutable pieces of encoded exits.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::selection::{ExitKind, Selection};
use super::snapshot::{InvalidSnapshot, ItemSnapshot, to_ns};
use crate::bpf::CgroupId;
use crate::encode::encode_event;
use crate::taskstats::{DelayAccounting, Exit};
use crate::workload::{Cgroup, CgroupTable};

/// Exits in a chunk at most. Clients decode batches of this size several times faster than batches
/// of thousands, because what they decode stays in the cache.
const CHUNK_EVENTS: usize = 256;
/// The memory of a chunk beside its bytes and entries: itself, and for each of its three allocations
/// the allocator's header and rounding.
const CHUNK_OVERHEAD: usize = size_of::<Chunk>() + 3 * 24;

/// Consecutive exits, encoded.
#[derive(Debug)]
pub(in crate::exits) struct Chunk {
    /// Sequence of the first one.
    first: u64,
    /// One for each exit.
    entries: Box<[ChunkEntry]>,
    /// Entries of `ExitEvents.events`, one after the other.
    bytes: Bytes,
    /// The time at which they were received, since 1970.
    received_at: Duration,
    /// The cgroups of the exits, each once.
    cgroups: Box<[Arc<Cgroup>]>,
}

/// The properties of an exit that are needed without decoding it.
#[derive(Clone, Copy, Debug)]
struct ChunkEntry {
    /// The offset of its end.
    end: u32,
    /// `Cpumask::MAX_CPUS` fits.
    cpu: u16,
    kind: ExitKind,
}

impl Chunk {
    pub(in crate::exits) fn first(&self) -> u64 {
        self.first
    }

    /// The sequence after the last exit.
    pub(in crate::exits) fn next(&self) -> u64 {
        self.first + self.len()
    }

    pub(in crate::exits) fn len(&self) -> u64 {
        self.entries.len() as u64
    }

    pub(in crate::exits) fn received_at(&self) -> Duration {
        self.received_at
    }

    pub(in crate::exits) fn snapshot(&self) -> ItemSnapshot {
        ItemSnapshot {
            first: self.first,
            last_at_ns: to_ns(self.received_at),
            bytes: self.bytes.clone(),
            ends: self.entries.iter().map(|entry| entry.end).collect(),
            cpus: self.entries.iter().map(|entry| u32::from(entry.cpu)).collect(),
            kinds: self.entries.iter().map(|entry| entry.kind as u8).collect(),
            cgroups: self.cgroups.iter().map(|cgroup| cgroup.id().to_stored()).collect(),
            ..ItemSnapshot::default()
        }
    }

    /// Restores a chunk, if its parts fit each other.
    pub(in crate::exits) fn restore(
        saved: ItemSnapshot,
        cgroups: &CgroupTable,
    ) -> Result<Self, InvalidSnapshot> {
        let ends = &saved.ends;
        let same_length = ends.len() == saved.cpus.len() && ends.len() == saved.kinds.len();
        if !same_length || ends.is_empty() || !ends.is_sorted() {
            return Err(InvalidSnapshot("a chunk's lists differ"));
        }
        if ends.last().map(|end| *end as usize) != Some(saved.bytes.len()) {
            return Err(InvalidSnapshot("a chunk's bytes are cut short"));
        }
        let parts = ends.iter().zip(&saved.cpus).zip(&saved.kinds);
        let entries = parts.map(|((end, cpu), kind)| {
            let cpu = u16::try_from(*cpu).ok()?;
            Some(ChunkEntry { end: *end, cpu, kind: ExitKind::from_number(*kind)? })
        });
        let entries: Option<Box<[ChunkEntry]>> = entries.collect();
        Ok(Self {
            first: saved.first,
            entries: entries.ok_or(InvalidSnapshot("a chunk's entry is impossible"))?,
            bytes: saved.bytes,
            received_at: Duration::from_nanos(saved.last_at_ns),
            cgroups: cgroups.intern_stored(&saved.cgroups),
        })
    }

    /// Memory that the chunk holds, in bytes.
    pub(in crate::exits) fn memory(&self) -> usize {
        self.bytes.len()
            + size_of_val(&*self.entries)
            + size_of_val(&*self.cgroups)
            + CHUNK_OVERHEAD
    }

    /// The cgroups of the exits, each once.
    pub(in crate::exits) fn cgroups(&self) -> &[Arc<Cgroup>] {
        &self.cgroups
    }

    /// CPU and kind of each exit.
    pub(in crate::exits) fn exits(&self) -> impl DoubleEndedIterator<Item = (u32, ExitKind)> + '_ {
        self.entries.iter().map(|entry| (u32::from(entry.cpu), entry.kind))
    }

    /// Number of selected exits with sequences before `next`.
    pub(in crate::exits) fn count_before(&self, next: u64, selection: &Selection) -> u64 {
        let selected = self.exits().take(self.skipped(next));
        selected.filter(|(cpu, kind)| selection.includes(*cpu, *kind)).count() as u64
    }

    /// The sequence of the `count`th selected exit from the end, or else the number of selected ones.
    pub(in crate::exits) fn nth_last(&self, count: u64, selection: &Selection) -> Result<u64, u64> {
        let mut found = 0;
        for (back, (cpu, kind)) in self.exits().rev().enumerate() {
            found += u64::from(selection.includes(cpu, kind));
            if found == count {
                return Ok(self.next() - 1 - back as u64);
            }
        }
        Err(found)
    }

    /// The bytes of the selected exits from the one with sequence `from` on, in as few slices as
    /// possible, and their number.
    pub(in crate::exits) fn select(
        &self,
        from: u64,
        selection: &Selection,
        slices: &mut Vec<Bytes>,
    ) -> u64 {
        let skipped = self.skipped(from);
        let mut start = skipped.checked_sub(1).map_or(0, |last| self.end(last));
        if selection.everything() {
            self.push_slice(start, self.bytes.len(), slices);
            return self.next().saturating_sub(from.max(self.first));
        }
        let mut end = start;
        let mut count = 0;
        for entry in self.entries.iter().skip(skipped) {
            let entry_end = entry.end as usize;
            if selection.includes(u32::from(entry.cpu), entry.kind) {
                count += 1;
            } else {
                self.push_slice(start, end, slices);
                start = entry_end;
            }
            end = entry_end;
        }
        self.push_slice(start, end, slices);
        count
    }

    fn push_slice(&self, start: usize, end: usize, slices: &mut Vec<Bytes>) {
        if start < end {
            slices.push(self.bytes.slice(start..end));
        }
    }

    fn skipped(&self, from: u64) -> usize {
        usize::try_from(from.saturating_sub(self.first)).unwrap_or(usize::MAX)
    }

    fn end(&self, index: usize) -> usize {
        self.entries.get(index).map_or(self.bytes.len(), |entry| entry.end as usize)
    }
}

/// Builds chunks. Its buffers are reused for the next one.
#[derive(Debug, Default)]
pub(in crate::exits) struct ChunkBuilder {
    entries: Vec<ChunkEntry>,
    bytes: Vec<u8>,
    received_at: Duration,
    /// The cgroups of the exits, each once, in the order of their last use.
    cgroups: Vec<CgroupId>,
}

impl ChunkBuilder {
    pub(in crate::exits) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(in crate::exits) fn is_full(&self) -> bool {
        self.entries.len() >= CHUNK_EVENTS
    }

    /// Encodes an exit. `first` is the sequence that the chunk begins with.
    pub(in crate::exits) fn push(
        &mut self,
        exit: &Exit,
        first: u64,
        received_at: Duration,
        delay_accounting: DelayAccounting,
    ) {
        let sequence = first + self.entries.len() as u64;
        encode_event(&mut self.bytes, exit, sequence, received_at, delay_accounting);
        self.received_at = received_at;
        if let Some(owner) = exit.owner {
            self.note_cgroup(owner.cgroup);
        }
        self.entries.push(ChunkEntry {
            // 256 messages of 64 KiB stay far below 4 GiB, CPUs below 8,192.
            end: u32::try_from(self.bytes.len()).unwrap_or(u32::MAX),
            cpu: u16::try_from(exit.cpu).unwrap_or(u16::MAX),
            kind: ExitKind::from(exit),
        });
    }

    /// Notes a cgroup, unless it was noted before. Exits of one cgroup mostly follow each other, so the
    /// last one is compared first.
    fn note_cgroup(&mut self, cgroup: CgroupId) {
        match self.cgroups.iter().rposition(|noted| *noted == cgroup) {
            Some(at) if at + 1 == self.cgroups.len() => {}
            Some(at) => self.cgroups[at..].rotate_left(1),
            None => self.cgroups.push(cgroup),
        }
    }

    /// Makes the chunk, in memory of exactly its size, and begins the next.
    pub(in crate::exits) fn build(&mut self, first: u64, cgroups: &CgroupTable) -> Chunk {
        let chunk = Chunk {
            first,
            entries: self.entries.as_slice().into(),
            bytes: Bytes::copy_from_slice(&self.bytes),
            received_at: self.received_at,
            cgroups: cgroups.intern(&self.cgroups),
        };
        self.cgroups.clear();
        self.entries.clear();
        self.bytes.clear();
        chunk
    }
}
