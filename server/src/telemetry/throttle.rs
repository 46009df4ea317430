//! Rate limits for log lines.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Passes one log line of a cause in each interval and counts the rest, so that a client that causes
/// them cannot fill the log.
#[derive(Debug)]
pub(crate) struct Throttle {
    interval: Duration,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    last: Option<Instant>,
    suppressed: u64,
}

impl Throttle {
    /// Creates a throttle that passes one line in each `interval`.
    #[must_use]
    pub(crate) const fn new(interval: Duration) -> Self {
        Self { interval, state: Mutex::new(State { last: None, suppressed: 0 }) }
    }

    /// Returns how many lines were suppressed since the last one, if a line may be written `now`.
    pub(crate) fn pass(&self, now: Instant) -> Option<u64> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let is_early = state.last.is_some_and(|last| now.duration_since(last) < self.interval);
        if is_early {
            state.suppressed += 1;
            return None;
        }
        state.last = Some(now);
        Some(std::mem::take(&mut state.suppressed))
    }
}
