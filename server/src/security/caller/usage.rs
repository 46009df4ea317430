//! How much is held.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::{LimitReached, Limits, Resource};

/// How many of each [`Resource`] are held, by one principal or by all of them.
#[derive(Debug, Default)]
pub(super) struct UsageCounts([AtomicUsize; Resource::COUNT]);

/// What is held by all, beside what one of them holds.
///
/// Calls are let in by the event loop's one thread, and give back what they hold there or on a thread of
/// slow calls. It is given back by its holder first, and by all then: who looks in between sees that
/// somebody holds less, and not yet that more is free, so allows nothing that would not be allowed a
/// moment later. What a large answer takes beyond one slow call may be taken on such a thread too: several
/// at the same moment can give a principal one too many each, but never more to all than there is, since
/// this number is compared and raised in one step.
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
    /// Takes one.
    pub(super) fn try_acquire(
        self,
        resource: Resource,
        limits: &Limits,
    ) -> Result<(), LimitReached> {
        let own = self.own.count(resource);
        let mut verdict = Ok(());
        // Given up where nothing is to be taken, with the number that stood in the way.
        let _before =
            self.all.of(resource).fetch_update(Ordering::Relaxed, Ordering::Relaxed, |all| {
                verdict = limits.allow(resource, own, all);
                verdict.is_ok().then(|| all.saturating_add(1))
            });
        verdict?;
        self.own.of(resource).fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Gives one back.
    pub(super) fn release(self, resource: Resource) {
        self.own.of(resource).fetch_sub(1, Ordering::Relaxed);
        self.all.of(resource).fetch_sub(1, Ordering::Relaxed);
    }
}
