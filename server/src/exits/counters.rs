//! What the agent counted since it began.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::taskstats::Attribution;

/// Counts since the agent began. Each is exact; together they are not one snapshot.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    /// Exit messages received from the kernel.
    pub(crate) received: Counter,
    /// Exits handed to watchers, counted for each.
    pub(crate) delivered: Counter,
    /// Exits that the kernel dropped.
    pub(crate) lost_in_kernel: Counter,
    /// Exits evicted before a watcher took them, counted for each.
    pub(crate) lost_in_history: Counter,
    /// Numbers missing from the kernel's sequences that its drop counters do not explain.
    pub(crate) unexplained_gaps: Counter,
    /// Exits received, by the certainty of their cgroup.
    pub(crate) attributed: AttributionCounters,
}

/// Exits received, by the certainty of their cgroup.
#[derive(Debug, Default)]
pub(crate) struct AttributionCounters {
    /// [`Attribution::Exact`].
    pub(crate) exact: Counter,
    /// [`Attribution::Observed`].
    pub(crate) observed: Counter,
    /// [`Attribution::Inferred`].
    pub(crate) inferred: Counter,
    /// [`Attribution::Guess`].
    pub(crate) guess: Counter,
    /// Exits without a cgroup.
    pub(crate) unknown: Counter,
}

impl AttributionCounters {
    /// The counter of a certainty.
    #[must_use]
    pub(crate) fn of(&self, attribution: Option<Attribution>) -> &Counter {
        match attribution {
            Some(Attribution::Exact) => &self.exact,
            Some(Attribution::Observed) => &self.observed,
            Some(Attribution::Inferred) => &self.inferred,
            Some(Attribution::Guess) => &self.guess,
            None => &self.unknown,
        }
    }
}

/// A number that only grows.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    /// Adds to it.
    pub(crate) fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    /// Its value now.
    #[must_use]
    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
