//! The clocks of the reader.

use std::time::{Duration, Instant};

use crate::clock::unix_time;

/// The sources of time; tests replace them.
#[derive(Clone, Copy, Debug)]
pub(in crate::exits) struct Clocks {
    monotonic: fn() -> Instant,
    wall: fn() -> Duration,
}

impl Clocks {
    /// The system's clocks.
    pub(in crate::exits) const SYSTEM: Self = Self { monotonic: Instant::now, wall: unix_time };

    #[cfg(test)]
    pub(in crate::exits) const fn new(monotonic: fn() -> Instant, wall: fn() -> Duration) -> Self {
        Self { monotonic, wall }
    }

    /// Reads the monotonic clock.
    pub(in crate::exits) fn now(self) -> Instant {
        (self.monotonic)()
    }

    /// Reads the wall clock, as the time since the Unix epoch.
    pub(in crate::exits) fn wall(self) -> Duration {
        (self.wall)()
    }
}
