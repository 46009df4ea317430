//! The times that `--since` accepts.

use std::time::{Duration, SystemTime};

use jiff::Timestamp;

use super::render::time::parse_duration;

const FORM: &str = "neither a duration with a unit, such as 1m, nor a time in RFC 3339, such as \
                    2026-11-22T14:07:09Z";

/// The time that a watch begins at.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Since {
    /// So long before now.
    Ago(Duration),
    /// A point in time.
    At(Timestamp),
}

impl Since {
    /// Returns the point in time, which is the beginning of time for a duration that exceeds it.
    pub(crate) fn resolve(self, now: SystemTime) -> Timestamp {
        match self {
            Self::At(time) => time,
            Self::Ago(duration) => now
                .checked_sub(duration)
                .and_then(|time| Timestamp::try_from(time).ok())
                .unwrap_or(Timestamp::MIN),
        }
    }
}

/// Parses a duration before now, or a time in RFC 3339.
pub(crate) fn parse_since(text: &str) -> Result<Since, &'static str> {
    match parse_duration(text) {
        Ok(duration) => Ok(Since::Ago(duration)),
        Err(_) => text.trim().parse().map(Since::At).map_err(|_| FORM),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_counts_back_from_now() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(100);
        let since = parse_since("1m").unwrap();
        assert_eq!(since.resolve(now), Timestamp::from_second(40).unwrap());
        assert_eq!(Since::Ago(Duration::MAX).resolve(now), Timestamp::MIN);
    }

    #[test]
    fn a_time_needs_its_offset() {
        let since = parse_since("1970-01-01T01:00:40+01:00").unwrap();
        assert_eq!(since, Since::At(Timestamp::from_second(40).unwrap()));
        for text in ["", "1", "-5s", "yesterday", "1970-01-01T00:00:40"] {
            assert!(parse_since(text).is_err(), "{text:?}");
        }
    }
}
