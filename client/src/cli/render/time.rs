//! Moments and lengths of time, between the contract, the command line and the reader.

use std::time::Duration;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

/// What stands for a moment that no calendar has.
const NO_MOMENT: &str = "?";

/// Shows moments in one time zone.
#[derive(Clone, Debug)]
pub(crate) struct LocalTime {
    zone: TimeZone,
}

impl LocalTime {
    /// Shows moments as the reader's own clock does.
    pub(crate) fn system() -> Self {
        Self { zone: TimeZone::system() }
    }

    /// Shows the time of day to the millisecond: `14:07:09.120`.
    pub(crate) fn time_of_day(&self, moment: &prost_types::Timestamp) -> String {
        self.show(moment, "%H:%M:%S.%3f")
    }

    /// Shows the day and the time to the second: `2026-11-22 14:07:09`.
    pub(crate) fn date(&self, moment: &prost_types::Timestamp) -> String {
        self.show(moment, "%Y-%m-%d %H:%M:%S")
    }

    fn show(&self, moment: &prost_types::Timestamp, format: &str) -> String {
        match Timestamp::new(moment.seconds, moment.nanos) {
            Ok(time) => time.to_zoned(self.zone.clone()).strftime(format).to_string(),
            Err(_) => NO_MOMENT.to_owned(),
        }
    }
}

/// Shows a moment in RFC 3339, in UTC.
pub(crate) fn rfc3339(moment: &prost_types::Timestamp) -> String {
    match Timestamp::new(moment.seconds, moment.nanos) {
        Ok(time) => time.to_string(),
        Err(_) => NO_MOMENT.to_owned(),
    }
}

/// Reads a length of time with its unit: `10ms`, `1.5s`, `2m`.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    let signed: SignedDuration =
        text.parse().map_err(|_| "not a number with a unit, such as 10ms or 5s".to_owned())?;
    Duration::try_from(signed).map_err(|_| "less than nothing".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOMENT: prost_types::Timestamp =
        prost_types::Timestamp { seconds: 1_795_356_429, nanos: 120_000_000 };

    #[test]
    fn moments_are_shown_in_the_zone() {
        let clock = LocalTime { zone: TimeZone::fixed(jiff::tz::offset(1)) };
        assert_eq!(clock.date(&MOMENT), "2026-11-22 15:07:09");
        assert_eq!(clock.time_of_day(&MOMENT), "15:07:09.120");
        assert_eq!(rfc3339(&MOMENT), "2026-11-22T14:07:09.12Z");
    }

    #[test]
    fn a_moment_out_of_the_calendar_is_not_made_up() {
        let never = prost_types::Timestamp { seconds: i64::MAX, nanos: 0 };
        assert_eq!(LocalTime { zone: TimeZone::UTC }.date(&never), "?");
        assert_eq!(rfc3339(&never), "?");
    }

    #[test]
    fn durations_need_a_unit_and_a_direction() {
        assert_eq!(parse_duration("10ms"), Ok(Duration::from_millis(10)));
        assert_eq!(parse_duration("1.5s"), Ok(Duration::from_millis(1500)));
        assert_eq!(parse_duration("1m 30s"), Ok(Duration::from_secs(90)));
        assert!(parse_duration("10").is_err());
        assert!(parse_duration("-5s").is_err());
        assert!(parse_duration("").is_err());
    }
}
