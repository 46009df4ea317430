//! Warnings that come often, told seldom.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Lets one line of a cause through in an interval, and counts the others, so that who causes them
/// cannot fill the log.
///
/// ```
/// use std::time::{Duration, Instant};
/// use taskstatsd::telemetry::Throttle;
///
/// static FULL: Throttle = Throttle::new(Duration::from_secs(10));
/// let start = Instant::now();
/// assert_eq!(FULL.pass(start), Some(0));
/// assert_eq!(FULL.pass(start), None);
/// assert_eq!(FULL.pass(start + Duration::from_secs(10)), Some(1));
/// ```
#[derive(Debug)]
pub struct Throttle {
    interval: Duration,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    last: Option<Instant>,
    suppressed: u64,
}

impl Throttle {
    /// Lets one line through in each `interval`.
    #[must_use]
    pub const fn new(interval: Duration) -> Self {
        Self { interval, state: Mutex::new(State { last: None, suppressed: 0 }) }
    }

    /// Whether a line may be written `now`: then how many were not, since the last one.
    pub fn pass(&self, now: Instant) -> Option<u64> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let quiet = state.last.is_some_and(|last| now.duration_since(last) < self.interval);
        if quiet {
            state.suppressed += 1;
            return None;
        }
        state.last = Some(now);
        Some(std::mem::take(&mut state.suppressed))
    }
}
