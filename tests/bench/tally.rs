//! The counts of a counting process.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use crate::{number, stamp};

/// Counters of one process. Each is written by one thread and read by another at the end.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    events: AtomicU64,
    bytes: AtomicU64,
    lost: AtomicU64,
    overruns: AtomicU64,
    heartbeats: AtomicU64,
    ages_ns: Mutex<Vec<u64>>,
}

/// The counters, as the process reports them.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
pub(crate) struct Count {
    /// Exits seen.
    pub(crate) events: u64,
    /// The size of their messages in bytes.
    pub(crate) bytes: u64,
    /// Exits that the agent reported as lost.
    pub(crate) lost: u64,
    /// The number of `ENOBUFS` errors.
    pub(crate) overruns: u64,
    /// Heartbeats.
    pub(crate) heartbeats: u64,
    /// The age of stamps when they were read; `None` without stamps.
    pub(crate) age: Option<Age>,
}

/// The age of stamps.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub(crate) struct Age {
    /// The median, in ns.
    pub(crate) median_ns: u64,
    /// The 99th percentile, in ns.
    pub(crate) p99_ns: u64,
}

/// The most stamps that are kept: 16 MiB, ten seconds at twice the highest speed.
const MOST_AGES: usize = 2 << 20;

impl Count {
    /// The number of a load's exits that were not received. A few may be hidden by exits of other
    /// tasks.
    pub(crate) const fn missed(self, made: u64) -> u64 {
        made.saturating_sub(self.events)
    }

    /// The number of a load's lost exits: those that the agent reported, or those that are missing,
    /// whichever is more.
    pub(crate) fn lost_of(self, made: u64) -> u64 {
        self.lost.max(self.missed(made))
    }

    /// The number of lost exits that the agent did not report: each is an error of the agent.
    pub(crate) const fn unreported(self, made: u64) -> u64 {
        self.missed(made).saturating_sub(self.lost)
    }
}

impl Tally {
    /// Counts exits, and the bytes of their messages.
    pub(crate) fn add_events(&self, events: u64, bytes: usize) {
        self.events.fetch_add(events, Ordering::Relaxed);
        self.bytes.fetch_add(u64::try_from(bytes).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Counts exits that the agent reported as lost.
    pub(crate) fn add_lost(&self, lost: u64) {
        self.lost.fetch_add(lost, Ordering::Relaxed);
    }

    /// Counts one message that a socket had been full.
    pub(crate) fn add_overrun(&self) {
        self.overruns.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts one sign of life.
    pub(crate) fn add_heartbeat(&self) {
        self.heartbeats.fetch_add(1, Ordering::Relaxed);
    }

    /// Notes the age at `now_ns` of the stamps in command names; names without one are passed over.
    pub(crate) fn add_ages<'a>(&self, now_ns: u64, comms: impl Iterator<Item = &'a [u8]>) {
        let mut ages = self.ages_ns.lock().unwrap_or_else(PoisonError::into_inner);
        let room = MOST_AGES.saturating_sub(ages.len());
        ages.extend(comms.filter_map(stamp::read).map(|at| now_ns.saturating_sub(at)).take(room));
    }

    /// Sums up.
    pub(crate) fn count(&self) -> Count {
        Count {
            events: self.events.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
            lost: self.lost.load(Ordering::Relaxed),
            overruns: self.overruns.load(Ordering::Relaxed),
            heartbeats: self.heartbeats.load(Ordering::Relaxed),
            age: self.age(),
        }
    }

    fn age(&self) -> Option<Age> {
        const MEDIAN: usize = 50;
        const TAIL: usize = 99;
        let mut ages = self.ages_ns.lock().unwrap_or_else(PoisonError::into_inner).clone();
        ages.sort_unstable();
        Some(Age {
            median_ns: number::percentile(&ages, MEDIAN)?,
            p99_ns: number::percentile(&ages, TAIL)?,
        })
    }
}
