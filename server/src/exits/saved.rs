//! The history in a form that outlives the agent.

use std::time::Duration;

use bytes::Bytes;

/// A history, whole.
#[derive(Clone, PartialEq, prost::Message)]
pub struct SavedHistory {
    /// The sequence that the next exit takes.
    #[prost(uint64, tag = "1")]
    pub next: u64,
    /// What was evicted, by CPU.
    #[prost(message, repeated, tag = "2")]
    pub evicted: Vec<SavedTotals>,
    /// When the newest evicted exit was received, ns since 1970.
    #[prost(uint64, tag = "3")]
    pub evicted_at_ns: u64,
    /// What is remembered, oldest first.
    #[prost(message, repeated, tag = "4")]
    pub items: Vec<SavedItem>,
}

/// Exits and losses of one CPU.
#[derive(Clone, PartialEq, prost::Message)]
pub struct SavedTotals {
    /// The CPU.
    #[prost(uint32, tag = "1")]
    pub cpu: u32,
    /// Exits by fate.
    #[prost(uint64, repeated, tag = "2")]
    pub exits: Vec<u64>,
    /// Exits that the kernel dropped.
    #[prost(uint64, tag = "3")]
    pub lost: u64,
    /// The last sequence that stands for a time in which nobody listened; 0 for none.
    #[prost(uint64, tag = "4")]
    pub unwatched: u64,
}

/// A chunk of exits, or a loss.
#[derive(Clone, PartialEq, prost::Message)]
pub struct SavedItem {
    /// Sequence of its first exit.
    #[prost(uint64, tag = "1")]
    pub first: u64,
    /// When it was received, or when the loss ended, ns since 1970.
    #[prost(uint64, tag = "2")]
    pub last_at_ns: u64,
    /// The exits' bytes; empty for a loss.
    #[prost(bytes = "bytes", tag = "3")]
    pub bytes: Bytes,
    /// Where each exit ends in `bytes`.
    #[prost(uint32, repeated, tag = "4")]
    pub ends: Vec<u32>,
    /// Each exit's CPU, or the loss's.
    #[prost(uint32, repeated, tag = "5")]
    pub cpus: Vec<u32>,
    /// Each exit's fate.
    #[prost(bytes = "vec", tag = "6")]
    pub fates: Vec<u8>,
    /// Exits lost; 0 for a chunk.
    #[prost(uint64, tag = "7")]
    pub lost: u64,
    /// When the loss began, ns since 1970.
    #[prost(uint64, tag = "8")]
    pub first_at_ns: u64,
}

/// A saved history that contradicts itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the saved history is damaged: {0}")]
pub struct DamagedHistory(pub(super) &'static str);

/// A time since 1970 as it is saved.
pub(super) fn to_ns(since_1970: Duration) -> u64 {
    u64::try_from(since_1970.as_nanos()).unwrap_or(u64::MAX)
}
