//! Delays between retries: exponential, bounded, and with jitter.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};

/// The jitter adds up to the delay itself, so the delays proper stay below half of the bound.
const JITTER_FACTOR: u32 = 2;

/// Generates the delays between the attempts at one thing.
///
/// The base doubles from attempt to attempt, and the delay is chosen between the base and twice the
/// base, so that agents that fail together do not retry together. No delay exceeds the bound.
#[derive(Debug)]
pub(crate) struct Backoff {
    builder: ExponentialBuilder,
    delays: ExponentialBackoff,
    max: Duration,
}

impl Backoff {
    /// Creates a backoff whose delays grow from `min` to `max`.
    pub(crate) fn new(min: Duration, max: Duration) -> Self {
        let builder = ExponentialBuilder::new()
            .with_min_delay(min)
            .with_max_delay(max / JITTER_FACTOR)
            .without_max_times()
            .with_jitter();
        Self { builder, delays: builder.build(), max }
    }

    /// Returns the delay before the next attempt.
    pub(crate) fn next_delay(&mut self) -> Duration {
        self.delays.next().unwrap_or(self.max).min(self.max)
    }

    /// Starts over at the shortest delay, after an attempt that succeeded.
    pub(crate) fn reset(&mut self) {
        self.delays = self.builder.build();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIN: Duration = Duration::from_secs(1);
    const MAX: Duration = Duration::from_secs(60);

    #[test]
    fn delays_double_up_to_the_bound() {
        let mut backoff = Backoff::new(MIN, MAX);
        for base in [1, 2, 4, 8, 16, 30, 30, 30].map(Duration::from_secs) {
            let delay = backoff.next_delay();
            assert!((base..=(base * 2).min(MAX)).contains(&delay), "{delay:?} at {base:?}");
        }
    }

    #[test]
    fn delays_do_not_end() {
        let delays = (0..10_000).map({
            let mut backoff = Backoff::new(MIN, MAX);
            move |_| backoff.next_delay()
        });
        assert!(delays.skip(10).all(|delay| (MAX / 2..=MAX).contains(&delay)));
    }

    #[test]
    fn a_reset_starts_over() {
        let mut backoff = Backoff::new(MIN, MAX);
        for _ in 0..10 {
            backoff.next_delay();
        }
        backoff.reset();
        assert!(backoff.next_delay() <= 2 * MIN);
    }

    #[test]
    fn delays_have_jitter() {
        let first = |_| Backoff::new(MIN, MAX).next_delay();
        let delays: std::collections::BTreeSet<_> = (0..100).map(first).collect();
        assert!(delays.len() > 50, "{} of 100 differ", delays.len());
    }
}
