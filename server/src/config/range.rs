//! The ranges of flags with a number, a size, or a time.

use std::ops::RangeBounds;
use std::time::Duration;

use bytesize::ByteSize;

use super::ConfigError;

/// A value that has an order and a form in which people write it.
pub(super) trait Bounded: PartialOrd + Copy {
    fn display(self) -> String;
}

impl Bounded for u32 {
    fn display(self) -> String {
        self.to_string()
    }
}

impl Bounded for u64 {
    fn display(self) -> String {
        self.to_string()
    }
}

impl Bounded for usize {
    fn display(self) -> String {
        self.to_string()
    }
}

impl Bounded for ByteSize {
    fn display(self) -> String {
        self.to_string()
    }
}

impl Bounded for Duration {
    fn display(self) -> String {
        humantime::format_duration(self).to_string()
    }
}

/// Rejects a value of `flag` outside of `range`, whose bounds are both inclusive.
///
/// # Errors
/// [`ConfigError::OutOfRange`], with the range.
pub(super) fn check_range<T: Bounded>(
    flag: &'static str,
    value: T,
    range: impl RangeBounds<T>,
) -> Result<(), ConfigError> {
    use std::ops::Bound::{Excluded, Included, Unbounded};
    if range.contains(&value) {
        return Ok(());
    }
    let shown = |bound| match bound {
        Included(bound) | Excluded(bound) => Some(T::display(bound)),
        Unbounded => None,
    };
    let range = match (shown(range.start_bound().cloned()), shown(range.end_bound().cloned())) {
        (Some(min), Some(max)) => format!("{min} to {max}"),
        (Some(min), None) => format!("{min} or more"),
        (None, max) => format!("at most {}", max.unwrap_or_default()),
    };
    Err(ConfigError::OutOfRange { flag, value: value.display(), range })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message<T: Bounded>(value: T, range: impl RangeBounds<T>) -> String {
        check_range("--flag", value, range).unwrap_err().to_string()
    }

    #[test]
    fn a_value_in_range_passes() {
        assert!(check_range("--flag", 1_u32, 1..=2).is_ok());
        assert!(check_range("--flag", ByteSize::kib(64), ByteSize::kib(64)..).is_ok());
        assert!(check_range("--flag", Duration::ZERO, ..=Duration::from_secs(1)).is_ok());
    }

    #[test]
    fn a_message_names_flag_value_and_range() {
        assert_eq!(message(3_usize, 1..=2), "--flag 3 is out of range; use 1 to 2");
        let size = message(ByteSize::kib(1), ByteSize::kib(64)..);
        assert_eq!(size, "--flag 1.0 KiB is out of range; use 64.0 KiB or more");
        let time = message(Duration::from_secs(3), Duration::ZERO..=Duration::from_secs(1));
        assert_eq!(time, "--flag 3s is out of range; use 0s to 1s");
    }
}
