//! The rate of calls of a principal.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A rate, with the calls of one second as a burst.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rate {
    /// Nanoseconds between two calls.
    interval: u64,
    /// The time by which calls may be ahead of the rate, in nanoseconds.
    burst: u64,
}

/// The token bucket of a principal, in one number by the generic cell rate algorithm: the time of the
/// next call if calls came evenly, in nanoseconds since the start of the agent.
#[derive(Debug, Default)]
pub(crate) struct Bucket(AtomicU64);

/// Nanoseconds in a second.
const SECOND: u64 = 1_000_000_000;

impl Rate {
    /// Returns the rate of so many calls a second; `None` for 0, which means no limit.
    #[must_use]
    pub(crate) fn per_second(calls: u32) -> Option<Self> {
        let interval = SECOND.checked_div(calls.into())?;
        Some(Self { interval, burst: SECOND - interval })
    }
}

impl Bucket {
    /// Counts a call at `now`.
    ///
    /// # Errors
    /// The time until the next call is allowed.
    pub(crate) fn acquire(&self, rate: Rate, now: Duration) -> Result<(), Duration> {
        let now = nanoseconds(now);
        let counted = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |next| {
            (next <= now.saturating_add(rate.burst)).then(|| next.max(now) + rate.interval)
        });
        let wait = |next: u64| Duration::from_nanos(next.saturating_sub(now + rate.burst));
        counted.map(drop).map_err(wait)
    }

    /// Returns whether the bucket is full, as if there had been no calls.
    #[must_use]
    pub(crate) fn is_full(&self, now: Duration) -> bool {
        self.0.load(Ordering::Relaxed) <= nanoseconds(now)
    }
}

/// Converts a duration, of which five centuries fit.
fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEN: u32 = 10;

    fn count(bucket: &Bucket, rate: Rate, now: Duration) -> usize {
        (0..1000).take_while(|_| bucket.acquire(rate, now).is_ok()).count()
    }

    #[test]
    fn the_calls_of_a_second_may_come_at_once_and_others_at_the_rate() {
        let rate = Rate::per_second(TEN).unwrap();
        let bucket = Bucket::default();
        let start = Duration::from_secs(100);
        assert_eq!(count(&bucket, rate, start), 10);
        let wait = bucket.acquire(rate, start).unwrap_err();
        assert_eq!(wait, Duration::from_millis(100));
        assert_eq!(count(&bucket, rate, start + wait), 1);
        assert_eq!(count(&bucket, rate, start + Duration::from_millis(600)), 5);
        assert!(!bucket.is_full(start + Duration::from_millis(1500)));
        assert!(bucket.is_full(start + Duration::from_millis(1600)));
        assert_eq!(count(&bucket, rate, start + Duration::from_secs(60)), 10);
    }

    #[test]
    fn the_slowest_rate_allows_a_call() {
        let rate = Rate::per_second(1).unwrap();
        assert_eq!(count(&Bucket::default(), rate, Duration::ZERO), 1);
        assert_eq!(Rate::per_second(0), None);
    }
}
