//! Timestamps and durations as people read and write them.

use std::env;
use std::fmt;
use std::path::Path;
use std::time::Duration;

use jiff::tz::{TimeZone, TimeZoneDatabase};
use jiff::{SignedDuration, Timestamp};

/// Stands for a timestamp that no calendar has.
const OUT_OF_CALENDAR: &str = "?";

/// The file that names the machine's time zone.
const LOCALTIME: &str = "/etc/localtime";

/// Shows timestamps in one time zone.
#[derive(Clone, Debug)]
pub(crate) struct LocalTime {
    zone: TimeZone,
}

/// The user's time zone cannot be read, so that UTC is used.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct UnreadableZone {
    cause: String,
}

impl fmt::Display for UnreadableZone {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}; times are in UTC", self.cause)
    }
}

impl LocalTime {
    /// Shows timestamps in UTC.
    pub(crate) fn utc() -> Self {
        Self { zone: TimeZone::UTC }
    }

    /// Shows timestamps in the zone of `TZ`, or else of `/etc/localtime`.
    ///
    /// A machine without `/etc/localtime` has UTC, as in the C library. Zone names are looked up in
    /// `TZDIR`, in `/usr/share/zoneinfo`, and in the database that is part of the program, which
    /// serves containers without a tzdata package.
    ///
    /// # Errors
    /// [`UnreadableZone`] when the zone is unknown or its file cannot be read.
    pub(crate) fn system() -> Result<Self, UnreadableZone> {
        let variable = env::var_os("TZ").map(|name| name.to_string_lossy().into_owned());
        match TimeZone::try_system() {
            Ok(zone) => Ok(Self { zone }),
            Err(error) => match variable {
                Some(name) => bundled(&name).map(|zone| Self { zone }).ok_or_else(|| {
                    let cause = format!("the time zone TZ={name} cannot be read: {error}");
                    UnreadableZone { cause }
                }),
                None if Path::new(LOCALTIME).symlink_metadata().is_err() => Ok(Self::utc()),
                None => {
                    let cause = format!("the time zone of {LOCALTIME} cannot be read: {error}");
                    Err(UnreadableZone { cause })
                }
            },
        }
    }

    /// Shows the time of day to the millisecond: `14:07:09.120`.
    pub(crate) fn time_of_day(&self, timestamp: &prost_types::Timestamp) -> String {
        self.show(timestamp, "%H:%M:%S.%3f")
    }

    /// Shows the day and the time to the second: `2026-11-22 14:07:09`.
    pub(crate) fn date(&self, timestamp: &prost_types::Timestamp) -> String {
        self.show(timestamp, "%Y-%m-%d %H:%M:%S")
    }

    fn show(&self, timestamp: &prost_types::Timestamp, format: &str) -> String {
        match Timestamp::new(timestamp.seconds, timestamp.nanos) {
            Ok(time) => time.to_zoned(self.zone.clone()).strftime(format).to_string(),
            Err(_) => OUT_OF_CALENDAR.to_owned(),
        }
    }
}

/// Finds a zone in the database that is part of the program: the machine's own can lack it.
fn bundled(name: &str) -> Option<TimeZone> {
    TimeZoneDatabase::bundled().get(name.strip_prefix(':').unwrap_or(name)).ok()
}

/// Shows a timestamp in RFC 3339, in UTC.
pub(crate) fn rfc3339(timestamp: &prost_types::Timestamp) -> String {
    match Timestamp::new(timestamp.seconds, timestamp.nanos) {
        Ok(time) => time.to_string(),
        Err(_) => OUT_OF_CALENDAR.to_owned(),
    }
}

/// Parses a duration with its unit: `10ms`, `1.5s`, `2m`.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    let signed: SignedDuration = text
        .trim()
        .parse()
        .map_err(|_| "not a number with a unit, such as 10ms or 5s".to_owned())?;
    Duration::try_from(signed).map_err(|_| "negative".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMESTAMP: prost_types::Timestamp =
        prost_types::Timestamp { seconds: 1_795_356_429, nanos: 120_000_000 };

    #[test]
    fn timestamps_are_shown_in_the_zone() {
        let time = LocalTime { zone: TimeZone::fixed(jiff::tz::offset(1)) };
        assert_eq!(time.date(&TIMESTAMP), "2026-11-22 15:07:09");
        assert_eq!(time.time_of_day(&TIMESTAMP), "15:07:09.120");
        assert_eq!(rfc3339(&TIMESTAMP), "2026-11-22T14:07:09.12Z");
    }

    /// A container without tzdata knows the zones by name all the same.
    #[test]
    fn zones_are_part_of_the_program() {
        for name in ["Asia/Kolkata", ":Asia/Kolkata"] {
            let time = LocalTime { zone: bundled(name).unwrap() };
            assert_eq!(time.date(&TIMESTAMP), "2026-11-22 19:37:09");
        }
        assert!(bundled("Mars/Olympus").is_none());
    }

    #[test]
    fn a_timestamp_out_of_the_calendar_is_a_question_mark() {
        let never = prost_types::Timestamp { seconds: i64::MAX, nanos: 0 };
        assert_eq!(LocalTime::utc().date(&never), "?");
        assert_eq!(rfc3339(&never), "?");
    }

    #[test]
    fn a_duration_needs_a_unit_and_is_not_negative() {
        assert_eq!(parse_duration("10ms"), Ok(Duration::from_millis(10)));
        assert_eq!(parse_duration(" 1.5s "), Ok(Duration::from_millis(1500)));
        assert_eq!(parse_duration("1m 30s"), Ok(Duration::from_secs(90)));
        assert!(parse_duration("10").is_err());
        assert!(parse_duration("-5s").is_err());
        assert!(parse_duration("").is_err());
    }
}
