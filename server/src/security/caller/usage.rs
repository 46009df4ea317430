//! Counts of what is held.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::{LimitReached, Limits, Resource};

/// The units of each [`Resource`] that one principal or all of them hold.
#[derive(Debug, Default)]
pub(super) struct UsageCounts([AtomicUsize; Resource::COUNT]);

/// The counts of one principal and those of all.
///
/// Calls acquire units on the thread of the event loop, and release them there or on a thread of slow
/// calls: first in the principal's counts, then in those of all. In between, a principal holds less while
/// no more is free, which allows nothing that would not be allowed afterwards. A large response acquires
/// further slow calls on such a thread. Several threads at once can exceed the share of a principal by one
/// each, but never the limit of all, because that count is compared and raised in one step.
#[derive(Clone, Copy, Debug)]
pub(super) struct Usage<'a> {
    pub(super) all: &'a UsageCounts,
    pub(super) own: &'a UsageCounts,
}

impl UsageCounts {
    pub(super) fn count(&self, resource: Resource) -> usize {
        self.of(resource).load(Ordering::Relaxed)
    }

    const fn of(&self, resource: Resource) -> &AtomicUsize {
        &self.0[resource as usize]
    }
}

impl Usage<'_> {
    /// Acquires one unit.
    pub(super) fn try_acquire(
        self,
        resource: Resource,
        limits: &Limits,
    ) -> Result<(), LimitReached> {
        let own = self.own.count(resource);
        let mut verdict = Ok(());
        // An error carries the count that was compared.
        let _before =
            self.all.of(resource).fetch_update(Ordering::Relaxed, Ordering::Relaxed, |all| {
                verdict = limits.allow(resource, own, all);
                verdict.is_ok().then(|| all.saturating_add(1))
            });
        verdict?;
        self.own.of(resource).fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Releases one unit.
    pub(super) fn release(self, resource: Resource) {
        self.own.of(resource).fetch_sub(1, Ordering::Relaxed);
        self.all.of(resource).fetch_sub(1, Ordering::Relaxed);
    }
}
