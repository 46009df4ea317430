//! A moment of the past, as the clock of the wall tells it now.

use std::time::Duration;

use crate::clocks::{since_1970, since_boot};

/// What is less than half of it is no step of the clock, but two readings that came one after the other.
const STEP: Duration = Duration::from_secs(1);

/// A moment that moves when the clock is set, so that it stays as long ago as it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    /// Since 1970, by the clock as it was first.
    told: Duration,
    /// What the clocks showed first.
    first: Reading,
}

/// What both clocks show.
#[derive(Clone, Copy, Debug)]
struct Reading {
    /// By the one that nobody sets, and that goes on while the machine sleeps, as the other one does.
    boot: Duration,
    /// Since 1970.
    wall: Duration,
}

impl Moment {
    /// This moment.
    pub(super) fn now() -> Self {
        let first = Reading::now();
        Self { told: first.wall, first }
    }

    /// A moment that is told since 1970, by the clock as it is now.
    pub(super) fn of(told: Duration) -> Self {
        Self { told, first: Reading::now() }
    }

    /// The moment since 1970, by the clock as it is now.
    pub(super) fn told(&self) -> Duration {
        self.told_at(Reading::now())
    }

    /// By whole steps, so that who asks twice is told the same as long as nobody sets the clock.
    fn told_at(&self, now: Reading) -> Duration {
        let unset = self.first.wall + now.boot.saturating_sub(self.first.boot);
        let set_by = to_the_step(unset.abs_diff(now.wall));
        let told =
            if now.wall > unset { self.told + set_by } else { self.told.saturating_sub(set_by) };
        // What was rounded up must not make a moment of the past one that is to come.
        told.min(now.wall)
    }
}

impl Reading {
    fn now() -> Self {
        Self { boot: since_boot(), wall: since_1970() }
    }
}

/// The nearest whole number of steps.
fn to_the_step(time: Duration) -> Duration {
    Duration::from_secs((time + STEP / 2).as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);
    const READ_LATE: Duration = Duration::from_millis(5);
    const START: Reading =
        Reading { boot: Duration::from_secs(700), wall: Duration::from_millis(60_000_001) };

    fn told_at(boot: Duration, wall: Duration) -> Duration {
        Moment { told: START.wall, first: START }.told_at(Reading { boot, wall })
    }

    #[test]
    fn a_moment_stays_as_long_ago_as_it_is_whatever_the_clock_is_set_to() {
        let (start, later) = (START.wall, START.wall + MINUTE);
        for (now, told) in [
            (later, start),
            (later + 60 * MINUTE, start + 60 * MINUTE),
            (later - 60 * MINUTE, start - 60 * MINUTE),
            (Duration::ZERO, Duration::ZERO),
        ] {
            assert_eq!(told_at(START.boot + MINUTE, now), told, "at {now:?}");
        }
    }

    /// A clock that was set by whole seconds is told by them, and not by a second less now and then.
    #[test]
    fn readings_that_came_late_move_no_moment() {
        let later = START.wall + MINUTE;
        for set_by in [Duration::ZERO, MINUTE] {
            for now in [later + set_by - READ_LATE, later + set_by, later + set_by + READ_LATE] {
                let found = told_at(START.boot + MINUTE, now);
                assert_eq!(found, START.wall + set_by, "at {now:?}");
            }
        }
    }

    #[test]
    fn a_moment_is_not_to_come() {
        let set_by = Duration::from_millis(600);
        let now = START.wall + set_by;
        assert_eq!(told_at(START.boot, now), now);
    }

    #[test]
    fn a_moment_is_told_alike_while_nobody_sets_the_clock() {
        let moment = Moment::now();
        assert_eq!(moment.told(), moment.told());
        let boot = Duration::from_secs(7);
        assert_eq!(Moment::of(boot).told(), boot);
    }
}
