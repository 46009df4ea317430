//! What the agent counted since it began.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counts since the agent began. Each is exact; together they are not one snapshot.
#[derive(Debug, Default)]
pub struct Counters {
    /// Exit messages received from the kernel.
    pub received: Counter,
    /// Exits handed to watchers, counted for each.
    pub delivered: Counter,
    /// Exits that the kernel dropped.
    pub lost_in_kernel: Counter,
    /// Exits evicted before a watcher took them, counted for each.
    pub lost_in_history: Counter,
    /// Numbers missing from the kernel's sequences that its drop counters do not explain.
    pub unexplained_gaps: Counter,
}

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds to it.
    pub fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    /// Its value now.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
