//! Detects steps of the wall clock, by which the kernel's records say when their tasks started.

use std::time::{Duration, Instant};

use super::DelayAccounting;

/// The longest time between the readings of the two clocks, which are taken one after the other, unless
/// the thread was pre-empted in between. A larger difference is a step: nothing else separates the two
/// clocks, since NTP slews both alike (`clock_gettime(2)`). Taking a late reading for a step leaves the
/// coverage of one drain unknown; taking a step for a late reading moves start times by less than the
/// second to which they are known.
const MAX_READING_GAP: Duration = Duration::from_millis(100);

/// Tracks whether waiting exits can hold start times from before a step of the wall clock.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ClockSteps {
    /// The last reading of the monotonic clock, and of the time since the Unix epoch.
    last: Option<(Instant, Duration)>,
    /// Set if waiting exits can hold start times by different settings of the clock.
    is_mixed: bool,
}

impl ClockSteps {
    /// Compares readings of both clocks with the last ones. Returns whether the wall clock was set in
    /// between. A suspend counts as a step: the monotonic clock stands still in it, and the kernel
    /// computes a task's age from that clock.
    pub(crate) fn observe(&mut self, now: Instant, unix_time: Duration) -> bool {
        let Some((then, before)) = self.last.replace((now, unix_time)) else { return false };
        let elapsed = now.saturating_duration_since(then);
        let is_step = (before + elapsed).abs_diff(unix_time) > MAX_READING_GAP;
        self.is_mixed |= is_step;
        is_step
    }

    /// Notes that exits are waiting from a time in which the clock was not observed.
    pub(crate) fn assume_step(&mut self) {
        self.is_mixed = true;
    }

    /// Returns what is known about the waiting exits. Start times from before and after a step cannot be
    /// distinguished, so while both can be waiting none of them is used.
    pub(crate) fn restrict(&self, accounting: DelayAccounting) -> DelayAccounting {
        if self.is_mixed { accounting.without_start_times() } else { accounting }
    }

    /// Notes that no exits are waiting: all later start times are by the clock as it is set now. Returns
    /// whether start times were not used before.
    pub(crate) fn queues_emptied(&mut self) -> bool {
        std::mem::take(&mut self.is_mixed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOON: Duration = Duration::from_secs(12 * 3600);
    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_step_in_either_direction_is_reported_once() {
        let (mut steps, start) = (ClockSteps::default(), Instant::now());
        assert!(!steps.observe(start, NOON));
        assert!(!steps.observe(start + SECOND, NOON + SECOND));
        assert!(steps.observe(start + 2 * SECOND, NOON + 3600 * SECOND));
        assert!(!steps.observe(start + 3 * SECOND, NOON + 3601 * SECOND));
        assert!(steps.observe(start + 4 * SECOND, NOON - 3600 * SECOND));
        assert!(steps.observe(start + 5 * SECOND, NOON - 3598 * SECOND));
    }

    /// The time between two observations does not matter.
    #[test]
    fn a_step_of_a_second_is_detected_after_a_day_without_exits() {
        let (mut steps, start, day) = (ClockSteps::default(), Instant::now(), 86_400 * SECOND);
        assert!(!steps.observe(start, NOON));
        assert!(!steps.observe(start + day, NOON + day));
        assert!(steps.observe(start + 2 * day, NOON + 2 * day + SECOND));
        assert!(steps.observe(start + 3 * day, NOON + 3 * day));
    }

    #[test]
    fn a_late_reading_is_not_a_step() {
        let (mut steps, start) = (ClockSteps::default(), Instant::now());
        assert!(!steps.observe(start, NOON));
        assert!(!steps.observe(start + SECOND, NOON + SECOND + MAX_READING_GAP));
        assert!(!steps.observe(start + 2 * SECOND, NOON + 2 * SECOND));
    }
}
