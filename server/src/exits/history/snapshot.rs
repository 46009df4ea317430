//! The history in a form that outlives the agent.

use std::time::Duration;

use bytes::Bytes;

use super::sequence::{FIRST_SEQUENCE, MAX_SEQUENCE};

/// A history, whole.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct HistorySnapshot {
    /// The sequence that the next exit includes.
    #[prost(uint64, tag = "1")]
    pub(crate) next: u64,
    /// The evicted exits, by CPU.
    #[prost(message, repeated, tag = "2")]
    pub(crate) evicted: Vec<TotalsSnapshot>,
    /// When the newest evicted exit was received, ns since 1970.
    #[prost(uint64, tag = "3")]
    pub(crate) evicted_at_ns: u64,
    /// The items, oldest first.
    #[prost(message, repeated, tag = "4")]
    pub(crate) items: Vec<ItemSnapshot>,
}

/// Exits and losses of one CPU.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct TotalsSnapshot {
    /// The CPU.
    #[prost(uint32, tag = "1")]
    pub(crate) cpu: u32,
    /// Exits by kind.
    #[prost(uint64, repeated, tag = "2")]
    pub(crate) exits: Vec<u64>,
    /// Exits that the kernel dropped.
    #[prost(uint64, tag = "3")]
    pub(crate) lost: u64,
    /// The last sequence that stands for a time without a listener; 0 for none.
    #[prost(uint64, tag = "4")]
    pub(crate) unwatched: u64,
}

/// A chunk of exits, or a loss.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct ItemSnapshot {
    /// Sequence of its first exit.
    #[prost(uint64, tag = "1")]
    pub(crate) first: u64,
    /// When it was received, or when the loss ended, ns since 1970.
    #[prost(uint64, tag = "2")]
    pub(crate) last_at_ns: u64,
    /// The exits' bytes; empty for a loss.
    #[prost(bytes = "bytes", tag = "3")]
    pub(crate) bytes: Bytes,
    /// The offset of each exit's end in `bytes`.
    #[prost(uint32, repeated, tag = "4")]
    pub(crate) ends: Vec<u32>,
    /// Each exit's CPU, or the loss's.
    #[prost(uint32, repeated, tag = "5")]
    pub(crate) cpus: Vec<u32>,
    /// Each exit's kind.
    #[prost(bytes = "vec", tag = "6")]
    pub(crate) kinds: Vec<u8>,
    /// Exits lost; 0 for a chunk.
    #[prost(uint64, tag = "7")]
    pub(crate) lost: u64,
    /// When the loss began, ns since 1970.
    #[prost(uint64, tag = "8")]
    pub(crate) first_at_ns: u64,
    /// Cgroups of the exits, each once, or of the loss.
    #[prost(fixed64, repeated, tag = "9")]
    pub(crate) cgroups: Vec<u64>,
    /// Exits lost of each of `cgroups`; empty for a chunk.
    #[prost(uint64, repeated, tag = "10")]
    pub(crate) cgroup_counts: Vec<u64>,
}

/// A saved history that contradicts itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the saved history is damaged: {0}")]
pub struct InvalidSnapshot(pub(super) &'static str);

impl HistorySnapshot {
    /// The sequence of the oldest exit that is remembered, or else of the next one.
    pub(super) fn first(&self) -> u64 {
        self.items.first().map_or(self.next, |item| item.first)
    }

    /// Checks that items take the sequences up to the next one, and that no more was evicted than
    /// there was before them.
    pub(super) fn check(&self) -> Result<(), InvalidSnapshot> {
        let first = self.first();
        if first < FIRST_SEQUENCE || self.next > MAX_SEQUENCE {
            return Err(InvalidSnapshot("a sequence is impossible"));
        }
        let mut next = first;
        for item in &self.items {
            if item.first != next {
                return Err(InvalidSnapshot("sequences do not follow each other"));
            }
            let after = next.checked_add(item.sequences());
            next = after.ok_or(InvalidSnapshot("a sequence is impossible"))?;
        }
        if next != self.next {
            return Err(InvalidSnapshot("the newest exits are missing"));
        }
        if self.evicted.iter().any(|totals| totals.unwatched >= first) {
            return Err(InvalidSnapshot("what was evicted is not older than the rest"));
        }
        let counts = |totals: &TotalsSnapshot| [&totals.exits[..], &[totals.lost]].concat();
        let mut counts = self.evicted.iter().flat_map(counts);
        let evicted = counts.try_fold(0_u64, u64::checked_add);
        if evicted.is_none_or(|evicted| evicted > first - FIRST_SEQUENCE) {
            return Err(InvalidSnapshot("more was evicted than there was"));
        }
        Ok(())
    }
}

impl ItemSnapshot {
    /// Returns the number of its sequences.
    fn sequences(&self) -> u64 {
        if self.lost > 0 { self.lost } else { self.ends.len().max(1) as u64 }
    }
}

/// A time since 1970 as it is saved.
pub(super) fn to_ns(since_1970: Duration) -> u64 {
    u64::try_from(since_1970.as_nanos()).unwrap_or(u64::MAX)
}
