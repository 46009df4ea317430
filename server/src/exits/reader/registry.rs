//! The CPUs to listen to, the number of their watchers, and the grace after the last one left.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::taskstats::Cpumask;

/// Counts the watchers of each CPU.
#[derive(Debug)]
pub(super) struct Registry {
    grace: Duration,
    cpus: BTreeMap<u32, Interest>,
}

#[derive(Clone, Copy, Debug)]
enum Interest {
    Watched {
        watchers: u32,
    },
    /// No watcher; listened to until then, so that a reconnect finds what happened meanwhile.
    Unwatched {
        until: Instant,
    },
}

impl Registry {
    pub(super) fn new(grace: Duration) -> Self {
        Self { grace, cpus: BTreeMap::new() }
    }

    /// The CPUs of `wanted` that are not listened to yet.
    pub(super) fn missing(&self, wanted: &Cpumask) -> Vec<u32> {
        wanted.iter().filter(|cpu| !self.cpus.contains_key(cpu)).collect()
    }

    /// Counts a watcher of `wanted`, all of which are listened to.
    pub(super) fn add(&mut self, wanted: &Cpumask) {
        for cpu in wanted.iter() {
            let interest = self.cpus.entry(cpu).or_insert(Interest::Watched { watchers: 0 });
            *interest = match *interest {
                Interest::Watched { watchers } => Interest::Watched { watchers: watchers + 1 },
                Interest::Unwatched { .. } => Interest::Watched { watchers: 1 },
            };
        }
    }

    /// Counts a watcher of `left` no more.
    pub(super) fn remove(&mut self, left: &Cpumask, now: Instant) {
        for cpu in left.iter() {
            match self.cpus.get_mut(&cpu) {
                Some(Interest::Watched { watchers }) if *watchers > 1 => *watchers -= 1,
                Some(interest) => *interest = Interest::Unwatched { until: now + self.grace },
                None => {}
            }
        }
    }

    /// Counts CPUs that an earlier run listened to. Their watchers have this time to resume, or the
    /// usual grace if that is longer.
    pub(super) fn inherit(&mut self, cpus: &Cpumask, now: Instant, at_least: Duration) {
        let until = now + self.grace.max(at_least);
        self.cpus.extend(cpus.iter().map(|cpu| (cpu, Interest::Unwatched { until })));
    }

    /// Removes and returns the CPUs whose grace is over.
    pub(super) fn expire(&mut self, now: Instant) -> Vec<u32> {
        let over = |interest: &Interest| matches!(interest, Interest::Unwatched { until } if *until <= now);
        let expired = self.cpus.iter().filter(|(_, interest)| over(interest)).map(|(cpu, _)| *cpu);
        let expired: Vec<u32> = expired.collect();
        self.cpus.retain(|_, interest| !over(interest));
        expired
    }

    /// When the next grace is over.
    pub(super) fn next_expiry(&self) -> Option<Instant> {
        let ends = self.cpus.values().filter_map(|interest| match interest {
            Interest::Watched { .. } => None,
            Interest::Unwatched { until } => Some(*until),
        });
        ends.min()
    }

    /// The CPUs that are listened to.
    pub(super) fn cpus(&self) -> Cpumask {
        self.cpus.keys().copied().collect()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.cpus.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRACE: Duration = Duration::from_secs(60);

    fn mask(cpus: &[u32]) -> Cpumask {
        cpus.iter().copied().collect()
    }

    #[test]
    fn a_cpu_is_listened_to_until_its_last_watcher_has_left_and_the_grace_is_over() {
        let now = Instant::now();
        let mut registry = Registry::new(GRACE);
        assert_eq!(registry.missing(&mask(&[0, 1])), [0, 1]);
        registry.add(&mask(&[0, 1]));
        assert_eq!(registry.missing(&mask(&[1, 2])), [2]);
        registry.add(&mask(&[1, 2]));
        registry.remove(&mask(&[0, 1]), now);
        assert_eq!(registry.next_expiry(), Some(now + GRACE));
        assert_eq!(registry.expire(now + GRACE / 2), [0_u32; 0]);
        assert_eq!(registry.expire(now + GRACE), [0]);
        registry.remove(&mask(&[1, 2]), now);
        assert_eq!(registry.expire(now + GRACE), [1, 2]);
        assert!(registry.is_empty());
    }

    #[test]
    fn a_watcher_that_comes_back_ends_the_grace() {
        let now = Instant::now();
        let mut registry = Registry::new(GRACE);
        registry.add(&mask(&[0]));
        registry.remove(&mask(&[0]), now);
        assert_eq!(registry.missing(&mask(&[0])), [0_u32; 0]);
        registry.add(&mask(&[0]));
        assert_eq!(registry.next_expiry(), None);
        assert_eq!(registry.cpus(), mask(&[0]));
    }
}
