//! The time of the next connection attempt.

use std::time::{Duration, Instant};

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};

use crate::Error;

/// The first delay: an agent that is restarted often serves again by then.
const FIRST_DELAY: Duration = Duration::from_millis(100);

/// The longest delay, even if the agent suggests a longer one: exits that its history evicts meanwhile are lost.
const MAX_DELAY: Duration = Duration::from_secs(5);

/// Reasons that are reported of one absence, so that a watch that waits for days prints no more.
const MAX_REASONS: usize = 8;

/// Delays between attempts: exponential, with jitter, so that watches which lost the same agent do
/// not return at the same time.
#[derive(Debug)]
pub(super) struct Backoff {
    delays: ExponentialBackoff,
}

/// Reasons for an agent's absence that were reported.
#[derive(Debug, Default)]
pub(super) struct ReportedReasons {
    reasons: Vec<String>,
}

impl ReportedReasons {
    /// Returns true for a reason that is to be reported. Reasons that differ in numbers alone, such
    /// as the time since a certificate expired, are the same.
    pub(super) fn add(&mut self, reason: &str) -> bool {
        let words: String = reason.chars().filter(|letter| !letter.is_ascii_digit()).collect();
        let is_new = self.reasons.len() < MAX_REASONS && !self.reasons.contains(&words);
        if is_new {
            self.reasons.push(words);
        }
        is_new
    }

    /// Forgets all reasons, and returns true if there was one.
    pub(super) fn clear(&mut self) -> bool {
        !std::mem::take(&mut self.reasons).is_empty()
    }
}

impl Backoff {
    pub(super) fn new() -> Self {
        // The jitter adds up to the delay itself.
        let delays = ExponentialBuilder::new()
            .with_min_delay(FIRST_DELAY)
            .with_max_delay(MAX_DELAY / 2)
            .with_jitter()
            .without_max_times()
            .build();
        Self { delays }
    }

    /// Begins anew after a stream that lasted. A stream that breaks at once leaves the delay as it
    /// is, or an agent in trouble would have ten streams a second to open.
    pub(super) fn stream_ended(&mut self, opened_at: Instant) {
        if opened_at.elapsed() > MAX_DELAY {
            *self = Self::new();
        }
    }

    /// Returns the delay before the next attempt, which is at least what the agent suggests, up to
    /// the longest delay.
    pub(super) fn next_delay(&mut self, error: Option<&Error>) -> Duration {
        let own = self.delays.next().unwrap_or(MAX_DELAY).min(MAX_DELAY);
        retry_after(error).unwrap_or_default().clamp(own, MAX_DELAY)
    }
}

fn retry_after(error: Option<&Error>) -> Option<Duration> {
    match error? {
        Error::Unavailable { retry_after, .. } | Error::ResourceExhausted { retry_after, .. } => {
            *retry_after
        }
        _ => None,
    }
}

/// Returns true for an error that can be absent at the next attempt. Certificate files count: they
/// are read again, and can have been renewed.
pub(super) fn is_transient(error: &Error) -> bool {
    match error {
        Error::Unreachable { .. }
        | Error::Disconnected { .. }
        | Error::DeadlineExceeded { .. }
        | Error::ResourceExhausted { .. }
        | Error::Tls { .. }
        | Error::Unavailable { .. } => true,
        Error::InvalidTarget(_)
        | Error::NoSuchTask { .. }
        | Error::NoSuchService { .. }
        | Error::InvalidArgument { .. }
        | Error::FailedPrecondition { .. }
        | Error::Unauthenticated { .. }
        | Error::PermissionDenied { .. }
        | Error::Unimplemented { .. }
        | Error::Internal { .. }
        | Error::Incomplete { .. }
        | Error::Unexpected { .. } => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn retry_in(seconds: u64) -> Error {
        let retry_after = Some(Duration::from_secs(seconds));
        Error::Unavailable { message: "draining".to_owned(), retry_after }
    }

    #[test]
    fn delays_double_up_to_the_longest() {
        let mut backoff = Backoff::new();
        for milliseconds in [100, 200, 400, 800, 1600, 2500, 2500, 2500] {
            let least = Duration::from_millis(milliseconds);
            let delay = backoff.next_delay(None);
            assert!((least..=2 * least).contains(&delay), "{delay:?}, not from {least:?}");
        }
    }

    #[test]
    fn two_watches_do_not_return_at_the_same_time() {
        let delays = |mut backoff: Backoff| -> Vec<Duration> {
            (0..8).map(|_| backoff.next_delay(None)).collect()
        };
        assert_ne!(delays(Backoff::new()), delays(Backoff::new()));
    }

    #[test]
    fn the_delay_that_the_agent_suggests_is_kept_up_to_the_longest() {
        assert_eq!(Backoff::new().next_delay(Some(&retry_in(1))), Duration::from_secs(1));
        assert_eq!(Backoff::new().next_delay(Some(&retry_in(3600))), MAX_DELAY);
        assert!(Backoff::new().next_delay(Some(&retry_in(0))) >= FIRST_DELAY);
    }

    #[test]
    fn a_stream_that_breaks_at_once_does_not_shorten_the_delay() {
        let mut backoff = Backoff::new();
        backoff.next_delay(None);
        backoff.stream_ended(Instant::now());
        assert!(backoff.next_delay(None) >= 2 * FIRST_DELAY);
    }

    #[test]
    fn each_reason_is_reported_once_in_one_absence() {
        let mut reasons = ReportedReasons::default();
        assert!(!reasons.clear());
        assert!(reasons.add("draining"));
        assert!(reasons.add("ended 3 s ago"));
        assert!(!reasons.add("draining"));
        assert!(!reasons.add("ended 14 s ago"));
        assert!(reasons.clear());
        assert!(reasons.add("draining"));
        let others = ('a'..='z').filter(|letter| reasons.add(&letter.to_string()));
        assert_eq!(others.count(), MAX_REASONS - 1);
    }

    #[test]
    fn a_missing_capability_is_permanent() {
        assert!(is_transient(&retry_in(1)));
        let message = "no CAP_NET_ADMIN".to_owned();
        assert!(!is_transient(&Error::FailedPrecondition { reason: String::new(), message }));
    }
}
