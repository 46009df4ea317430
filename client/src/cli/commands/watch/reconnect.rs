//! When to connect again, and when not.

use std::time::{Duration, Instant};

use crate::Error;

/// The first wait: an agent that is restarted is back within it more often than not.
const FIRST_DELAY: Duration = Duration::from_millis(100);

/// The longest wait, whatever the agent asks for: a person looks at it, and the history that is
/// resumed from does not grow with patience.
const LONGEST_DELAY: Duration = Duration::from_secs(5);

/// Reasons that are told of one absence: who waits for days reads no more than these.
const MOST_REASONS: usize = 8;

/// Waits that double from one attempt to the next, up to a bound.
#[derive(Debug)]
pub(super) struct Backoff {
    next: Duration,
}

/// Why an agent is away, as far as it was told.
#[derive(Debug, Default)]
pub(super) struct Reasons {
    told: Vec<String>,
}

impl Reasons {
    /// Whether a reason was not told before, and is to be told now. Of two that differ in numbers
    /// alone, such as how long ago a certificate ended, the second is not new.
    pub(super) fn is_new(&mut self, reason: &str) -> bool {
        let words: String = reason.chars().filter(|letter| !letter.is_ascii_digit()).collect();
        let is_new = self.told.len() < MOST_REASONS && !self.told.contains(&words);
        if is_new {
            self.told.push(words);
        }
        is_new
    }

    /// Begins anew; whether any was told.
    pub(super) fn forget(&mut self) -> bool {
        !std::mem::take(&mut self.told).is_empty()
    }
}

impl Backoff {
    pub(super) fn new() -> Self {
        Self { next: FIRST_DELAY }
    }

    /// Begins anew after a stream that lived for long. One that breaks again and again at once
    /// does not, or it would be opened ten times a second for ever.
    pub(super) fn lived(&mut self, opened_at: Instant) {
        if opened_at.elapsed() > LONGEST_DELAY {
            self.next = FIRST_DELAY;
        }
    }

    /// How long to wait before the next attempt: no less than the agent asks for, within the bound.
    pub(super) fn delay(&mut self, error: Option<&Error>) -> Duration {
        let own = self.next;
        self.next = (own * 2).min(LONGEST_DELAY);
        asked(error).unwrap_or_default().clamp(own, LONGEST_DELAY)
    }
}

fn asked(error: Option<&Error>) -> Option<Duration> {
    match error? {
        Error::Unavailable { retry_after, .. } | Error::ResourceExhausted { retry_after, .. } => {
            *retry_after
        }
        _ => None,
    }
}

/// Whether what ended a stream, or kept it from opening, can be over at the next attempt. Certificates
/// that sufficed once may be about to be replaced.
pub(super) fn may_pass(error: &Error) -> bool {
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

    fn asking(seconds: u64) -> Error {
        let retry_after = Some(Duration::from_secs(seconds));
        Error::Unavailable { message: "draining".to_owned(), retry_after }
    }

    #[test]
    fn waits_double_up_to_the_bound() {
        let mut backoff = Backoff::new();
        let waits: Vec<_> = (0..8).map(|_| backoff.delay(None).as_millis()).collect();
        assert_eq!(waits, [100, 200, 400, 800, 1600, 3200, 5000, 5000]);
    }

    #[test]
    fn what_the_agent_asks_for_is_kept_within_the_bound() {
        assert_eq!(Backoff::new().delay(Some(&asking(1))), Duration::from_secs(1));
        assert_eq!(Backoff::new().delay(Some(&asking(3600))), LONGEST_DELAY);
        assert_eq!(Backoff::new().delay(Some(&asking(0))), FIRST_DELAY);
    }

    #[test]
    fn a_stream_that_broke_at_once_does_not_shorten_the_wait() {
        let mut backoff = Backoff::new();
        backoff.delay(None);
        backoff.lived(Instant::now());
        assert_eq!(backoff.delay(None), 2 * FIRST_DELAY);
    }

    #[test]
    fn each_reason_is_told_once_in_one_absence() {
        let mut reasons = Reasons::default();
        assert!(!reasons.forget());
        assert!(reasons.is_new("draining"));
        assert!(reasons.is_new("ended 3 s ago"));
        assert!(!reasons.is_new("draining"));
        assert!(!reasons.is_new("ended 14 s ago"));
        assert!(reasons.forget());
        assert!(reasons.is_new("draining"));
        let others = ('a'..='z').filter(|letter| reasons.is_new(&letter.to_string()));
        assert_eq!(others.count(), MOST_REASONS - 1);
    }

    #[test]
    fn only_what_can_pass_is_tried_again() {
        assert!(may_pass(&asking(1)));
        let message = "no CAP_NET_ADMIN".to_owned();
        assert!(!may_pass(&Error::FailedPrecondition { reason: String::new(), message }));
    }
}
