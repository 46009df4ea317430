//! A moment of the past, as the clock of the wall tells it now.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A moment that moves when the clock is set, so that it stays as long ago as it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    /// Since 1970, by the clock as it was first.
    told: Duration,
    /// The clocks, as they were first.
    first: Clocks,
}

#[derive(Clone, Copy, Debug)]
struct Clocks {
    /// That nobody sets.
    steady: Instant,
    /// Since 1970.
    wall: Duration,
}

impl Moment {
    /// This moment.
    pub(super) fn now() -> Self {
        let first = Clocks::now();
        Self { told: first.wall, first }
    }

    /// A moment that is told since 1970, by the clock as it is now.
    pub(super) fn of(told: Duration) -> Self {
        Self { told, first: Clocks::now() }
    }

    /// The moment since 1970, by the clock as it is now.
    pub(super) fn told(&self) -> Duration {
        self.told_at(Clocks::now())
    }

    /// By whole seconds, so that who asks twice is told the same as long as nobody sets the clock.
    fn told_at(&self, now: Clocks) -> Duration {
        let unset = self.first.wall + now.steady.saturating_duration_since(self.first.steady);
        let set_by = Duration::from_secs(unset.abs_diff(now.wall).as_secs());
        if now.wall > unset { self.told + set_by } else { self.told.saturating_sub(set_by) }
    }
}

impl Clocks {
    fn now() -> Self {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { steady: Instant::now(), wall }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn a_moment_stays_as_long_ago_as_it_is_whatever_the_clock_is_set_to() {
        let wall = 1000 * MINUTE + Duration::from_millis(1);
        let first = Clocks { steady: Instant::now(), wall };
        let moment = Moment { told: wall, first };
        let later = |wall| Clocks { steady: first.steady + MINUTE, wall };
        let read_late = Duration::from_millis(5);
        for (now, told) in [
            (wall + MINUTE, wall),
            (wall + MINUTE + read_late, wall),
            (wall + MINUTE - read_late, wall),
            (wall + 61 * MINUTE, wall + 60 * MINUTE),
            (wall - 59 * MINUTE, wall - 60 * MINUTE),
            (Duration::ZERO, Duration::ZERO),
        ] {
            let found = moment.told_at(later(now));
            assert!(found.abs_diff(told) < Duration::from_secs(1), "{found:?}, not {told:?}");
            assert!(now.is_zero() || found <= now, "{found:?} is to come at {now:?}");
        }
    }

    #[test]
    fn a_moment_is_told_alike_while_nobody_sets_the_clock() {
        let moment = Moment::now();
        assert_eq!(moment.told(), moment.told());
        let boot = Duration::from_secs(7);
        assert_eq!(Moment::of(boot).told(), boot);
    }
}
