//! How long a caller waits for its answer.

use std::time::Duration;

use http::HeaderMap;

/// The header that says so, as a number of up to eight digits and a unit (gRPC over HTTP/2).
const HEADER: &str = "grpc-timeout";
/// The most digits.
const DIGITS: usize = 8;
const HOUR: u64 = 60 * 60;
const MINUTE: u64 = 60;

/// The time that a caller gives its call. One that cannot be read counts as none, as other servers
/// have it.
pub(super) fn of(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(HEADER)?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > DIGITS || !digits.bytes().all(|it| it.is_ascii_digit()) {
        return None;
    }
    let number: u64 = digits.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(number * HOUR)),
        "M" => Some(Duration::from_secs(number * MINUTE)),
        "S" => Some(Duration::from_secs(number)),
        "m" => Some(Duration::from_millis(number)),
        "u" => Some(Duration::from_micros(number)),
        "n" => Some(Duration::from_nanos(number)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_unit_is_read_and_nothing_else() {
        for (text, expected) in [
            ("2H", Some(Duration::from_secs(7200))),
            ("3M", Some(Duration::from_secs(180))),
            ("99999999S", Some(Duration::from_secs(99_999_999))),
            ("5m", Some(Duration::from_millis(5))),
            ("6u", Some(Duration::from_micros(6))),
            ("7n", Some(Duration::from_nanos(7))),
            ("0S", Some(Duration::ZERO)),
            ("", None),
            ("S", None),
            ("5", None),
            ("5s", None),
            ("+5S", None),
            ("-5S", None),
            ("123456789S", None),
            ("5 S", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(HEADER, text.parse().unwrap());
            assert_eq!(of(&headers), expected, "{text}");
        }
        assert_eq!(of(&HeaderMap::new()), None);
    }
}
