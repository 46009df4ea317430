//! Whether the clock of the wall was set.

use std::time::{Duration, Instant};

/// Below this a clock was not set but read late: between its two readings, the thread waited for a CPU.
const READ_LATE: Duration = Duration::from_millis(100);
/// A clock that is corrected smoothly goes too fast or too slow by a 2,000th at most (`adjtimex(2)`,
/// 500 ppm); this is twice as much.
const SLEWED: u32 = 1000;

/// The two clocks, as they were read last.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct WallClock {
    last: Option<(Instant, Duration)>,
}

impl WallClock {
    /// Takes a reading of both, the second since 1970. Tells whether the second one was set since the
    /// reading before.
    pub(super) fn was_set(&mut self, now: Instant, wall: Duration) -> bool {
        let Some((then, told)) = self.last.replace((now, wall)) else { return false };
        let passed = now.saturating_duration_since(then);
        (told + passed).abs_diff(wall) > READ_LATE + passed / SLEWED
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

    #[test]
    fn a_clock_that_is_read_late_or_corrected_smoothly_was_not_set() {
        let (mut clock, start) = (WallClock::default(), Instant::now());
        assert!(!clock.was_set(start, NOON));
        assert!(!clock.was_set(start, NOON + READ_LATE));
        let (day, slewed) = (86_400 * SECOND, 43 * SECOND);
        assert!(!clock.was_set(start + day, NOON + day + slewed));
        assert!(!clock.was_set(start + 2 * day, NOON + 2 * day));
    }
}
