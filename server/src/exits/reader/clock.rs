//! The clocks that exits are taken by, and whether the one of the wall was set.

use std::time::{Duration, Instant};

use crate::clock::unix_time;
use crate::taskstats::DelayAccounting;

/// Two readings, one right after the other, are this far apart at most, unless the thread waited for a
/// CPU between them for longer. What differs by more was set. Nothing else parts the two: NTP speeds up
/// and slows down both alike (`clock_gettime(2)`). A late reading that is taken for a step costs one
/// drain that is judged without begins; a step that is taken for a late reading moves begins by less
/// than the second that they are told to.
const READ_LATE: Duration = Duration::from_millis(100);

/// Where the time comes from; elsewhere than from the system in tests only.
#[derive(Clone, Copy, Debug)]
pub(in crate::exits) struct Clocks {
    steady: fn() -> Instant,
    wall: fn() -> Duration,
}

/// What is known of the clock of the wall, by which exits say when their tasks began.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::exits) struct WallClock {
    /// Both clocks, as they were read last.
    last: Option<(Instant, Duration)>,
    /// Whether some of what waits may say by the clock as it was before it was set.
    is_mixed: bool,
}

impl Clocks {
    /// The system's.
    pub(in crate::exits) const SYSTEM: Self = Self { steady: Instant::now, wall: unix_time };

    #[cfg(test)]
    pub(in crate::exits) const fn new(steady: fn() -> Instant, wall: fn() -> Duration) -> Self {
        Self { steady, wall }
    }

    /// By the clock that nobody sets.
    pub(in crate::exits) fn now(self) -> Instant {
        (self.steady)()
    }

    /// The time since 1970.
    pub(in crate::exits) fn wall(self) -> Duration {
        (self.wall)()
    }
}

impl WallClock {
    /// Takes a reading of both, the second since 1970. Tells whether the second one was set since the
    /// reading before. A machine that slept is as good: the first clock stood still meanwhile, and the
    /// kernel computes begins from that one.
    pub(in crate::exits) fn was_set(&mut self, now: Instant, wall: Duration) -> bool {
        let Some((then, told)) = self.last.replace((now, wall)) else { return false };
        let passed = now.saturating_duration_since(then);
        let was_set = (told + passed).abs_diff(wall) > READ_LATE;
        self.is_mixed |= was_set;
        was_set
    }

    /// Says that exits wait from a time in which nobody looked at the clock.
    pub(in crate::exits) fn was_unseen(&mut self) {
        self.is_mixed = true;
    }

    /// What a switch tells of exits that wait. Begins of before the clock was set and of after it look
    /// alike, so that none of them can be compared with anything.
    pub(in crate::exits) fn judgeable(&self, switch: DelayAccounting) -> DelayAccounting {
        if self.is_mixed { switch.without_begins() } else { switch }
    }

    /// Says that nothing waits: what comes now says by the clock as it is when it began. Tells whether
    /// that is news.
    pub(in crate::exits) fn left_nothing(&mut self) -> bool {
        std::mem::take(&mut self.is_mixed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOON: Duration = Duration::from_secs(12 * 3600);
    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_step_is_noticed_once_whichever_way_it_goes() {
        let (mut clock, start) = (WallClock::default(), Instant::now());
        assert!(!clock.was_set(start, NOON));
        assert!(!clock.was_set(start + SECOND, NOON + SECOND));
        assert!(clock.was_set(start + 2 * SECOND, NOON + 3600 * SECOND));
        assert!(!clock.was_set(start + 3 * SECOND, NOON + 3601 * SECOND));
        assert!(clock.was_set(start + 4 * SECOND, NOON - 3600 * SECOND));
        assert!(clock.was_set(start + 5 * SECOND, NOON - 3598 * SECOND));
    }

    /// However long nothing exited: time by itself does not part the clocks.
    #[test]
    fn a_step_of_a_second_is_noticed_after_a_silent_day() {
        let (mut clock, start, day) = (WallClock::default(), Instant::now(), 86_400 * SECOND);
        assert!(!clock.was_set(start, NOON));
        assert!(!clock.was_set(start + day, NOON + day));
        assert!(clock.was_set(start + 2 * day, NOON + 2 * day + SECOND));
        assert!(clock.was_set(start + 3 * day, NOON + 3 * day));
    }

    #[test]
    fn a_clock_that_is_read_late_was_not_set() {
        let (mut clock, start) = (WallClock::default(), Instant::now());
        assert!(!clock.was_set(start, NOON));
        assert!(!clock.was_set(start + SECOND, NOON + SECOND + READ_LATE));
        assert!(!clock.was_set(start + 2 * SECOND, NOON + 2 * SECOND));
    }
}
