//! Timestamps that stay correct when the wall clock is set.

use std::time::Duration;

use super::{unix_time, uptime};

/// The unit of an adjustment. A difference of less than half of it is not a step of the clock but the
/// time between two readings.
const STEP: Duration = Duration::from_secs(1);

/// The time of a past event. Setting the wall clock moves it, so that its distance to the present stays
/// the same.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StepAwareTime {
    /// Time since the Unix epoch, by the wall clock as it was at `recorded`.
    unix_time: Duration,
    recorded: ClockPair,
}

/// Both clocks, read together.
#[derive(Clone, Copy, Debug)]
struct ClockPair {
    /// `CLOCK_BOOTTIME`, which cannot be set and, like the wall clock, includes suspend time.
    uptime: Duration,
    unix_time: Duration,
}

impl StepAwareTime {
    /// Returns the present.
    pub(crate) fn now() -> Self {
        let recorded = ClockPair::now();
        Self { unix_time: recorded.unix_time, recorded }
    }

    /// Creates the timestamp of an event from its time since the Unix epoch, by the wall clock as it is
    /// set now.
    pub(crate) fn from_unix_time(unix_time: Duration) -> Self {
        Self { unix_time, recorded: ClockPair::now() }
    }

    /// Returns the time since the Unix epoch, by the wall clock as it is set now.
    pub(crate) fn unix_time(&self) -> Duration {
        self.unix_time_at(ClockPair::now())
    }

    /// Adjusts by whole steps only, so that two calls return the same time unless the clock was set
    /// between them.
    fn unix_time_at(&self, now: ClockPair) -> Duration {
        let elapsed = now.uptime.saturating_sub(self.recorded.uptime);
        let unset = self.recorded.unix_time + elapsed;
        let adjustment = round_to_step(unset.abs_diff(now.unix_time));
        let adjusted = if now.unix_time > unset {
            self.unix_time + adjustment
        } else {
            self.unix_time.saturating_sub(adjustment)
        };
        // Rounding up must not put a past event into the future.
        adjusted.min(now.unix_time)
    }
}

impl ClockPair {
    fn now() -> Self {
        Self { uptime: uptime(), unix_time: unix_time() }
    }
}

fn round_to_step(time: Duration) -> Duration {
    Duration::from_secs((time + STEP / 2).as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);
    const READ_LATE: Duration = Duration::from_millis(5);
    const START: ClockPair = ClockPair {
        uptime: Duration::from_secs(700),
        unix_time: Duration::from_millis(60_000_001),
    };

    fn unix_time_at(uptime: Duration, unix_time: Duration) -> Duration {
        let event = StepAwareTime { unix_time: START.unix_time, recorded: START };
        event.unix_time_at(ClockPair { uptime, unix_time })
    }

    #[test]
    fn an_event_keeps_its_age_when_the_clock_is_set() {
        let (start, later) = (START.unix_time, START.unix_time + MINUTE);
        for (now, expected) in [
            (later, start),
            (later + 60 * MINUTE, start + 60 * MINUTE),
            (later - 60 * MINUTE, start - 60 * MINUTE),
            (Duration::ZERO, Duration::ZERO),
        ] {
            assert_eq!(unix_time_at(START.uptime + MINUTE, now), expected, "at {now:?}");
        }
    }

    /// The adjustment is exact although the two clocks are not read at the same instant.
    #[test]
    fn a_late_reading_does_not_change_the_time() {
        let later = START.unix_time + MINUTE;
        for set_by in [Duration::ZERO, MINUTE] {
            for now in [later + set_by - READ_LATE, later + set_by, later + set_by + READ_LATE] {
                let found = unix_time_at(START.uptime + MINUTE, now);
                assert_eq!(found, START.unix_time + set_by, "at {now:?}");
            }
        }
    }

    #[test]
    fn an_event_is_never_in_the_future() {
        let set_by = Duration::from_millis(600);
        let now = START.unix_time + set_by;
        assert_eq!(unix_time_at(START.uptime, now), now);
    }

    #[test]
    fn the_time_is_stable_while_the_clock_is_not_set() {
        let now = StepAwareTime::now();
        assert_eq!(now.unix_time(), now.unix_time());
        let past = Duration::from_secs(7);
        assert_eq!(StepAwareTime::from_unix_time(past).unix_time(), past);
    }
}
