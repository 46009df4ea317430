//! Rates of what a principal sends.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A rate of events, such as calls, and their burst.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rate {
    /// Nanoseconds between two events.
    interval: u64,
    /// The time by which events may be ahead of the rate, in nanoseconds.
    burst: u64,
}

/// The token bucket of a principal, in one number by the generic cell rate algorithm: the time of the
/// next event if events came evenly, in nanoseconds since the start of the agent.
#[derive(Debug, Default)]
pub(crate) struct Bucket(AtomicU64);

/// Nanoseconds in a second.
const SECOND: u64 = 1_000_000_000;

impl Rate {
    /// Returns a rate with so many events at once.
    ///
    /// `per_second` and `burst` are at least 1.
    pub(crate) const fn with_burst(per_second: u32, burst: u32) -> Self {
        let interval = SECOND / per_second as u64;
        Self { interval, burst: interval * (burst as u64 - 1) }
    }

    /// Returns the rate of so many events a second, with those of one second as a burst; `None` for 0,
    /// which means no limit.
    #[must_use]
    pub(crate) fn per_second(events: u32) -> Option<Self> {
        let interval = SECOND.checked_div(events.into())?;
        Some(Self { interval, burst: SECOND - interval })
    }
}

impl Bucket {
    /// Counts so many events at `now`, unless even the first one is beyond the rate.
    ///
    /// # Errors
    /// The time until the next event is allowed.
    pub(crate) fn acquire(&self, rate: Rate, events: u32, now: Duration) -> Result<(), Duration> {
        let now = nanoseconds(now);
        let added = rate.interval.saturating_mul(events.into());
        let counted = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |next| {
            let is_allowed = next <= now.saturating_add(rate.burst);
            is_allowed.then(|| next.max(now).saturating_add(added))
        });
        let wait = |next: u64| Duration::from_nanos(next.saturating_sub(now + rate.burst));
        counted.map(drop).map_err(wait)
    }

    /// Returns whether the bucket is full, as if there had been no events.
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
        (0..1000).take_while(|_| bucket.acquire(rate, 1, now).is_ok()).count()
    }

    #[test]
    fn the_calls_of_a_second_may_come_at_once_and_others_at_the_rate() {
        let rate = Rate::per_second(TEN).unwrap();
        let bucket = Bucket::default();
        let start = Duration::from_secs(100);
        assert_eq!(count(&bucket, rate, start), 10);
        let wait = bucket.acquire(rate, 1, start).unwrap_err();
        assert_eq!(wait, Duration::from_millis(100));
        assert_eq!(count(&bucket, rate, start + wait), 1);
        assert_eq!(count(&bucket, rate, start + Duration::from_millis(600)), 5);
        assert!(!bucket.is_full(start + Duration::from_millis(1500)));
        assert!(bucket.is_full(start + Duration::from_millis(1600)));
        assert_eq!(count(&bucket, rate, start + Duration::from_secs(60)), 10);
    }

    #[test]
    fn a_burst_can_be_more_than_the_events_of_a_second() {
        let rate = Rate::with_burst(TEN, 25);
        let bucket = Bucket::default();
        assert_eq!(count(&bucket, rate, Duration::ZERO), 25);
        assert_eq!(count(&bucket, rate, Duration::from_secs(1)), 10);
    }

    /// Events that come together are allowed if the first one is, and delay those after them.
    #[test]
    fn several_events_count_as_many() {
        let rate = Rate::with_burst(TEN, 1);
        let bucket = Bucket::default();
        bucket.acquire(rate, 20, Duration::ZERO).unwrap();
        let wait = bucket.acquire(rate, 1, Duration::ZERO).unwrap_err();
        assert_eq!(wait, Duration::from_secs(2));
    }

    #[test]
    fn the_slowest_rate_allows_a_call() {
        let rate = Rate::per_second(1).unwrap();
        assert_eq!(count(&Bucket::default(), rate, Duration::ZERO), 1);
        assert_eq!(Rate::per_second(0), None);
    }
}
