//! Numbers with units, for people.

/// A unit, and its size in the smallest unit of its kind.
struct Unit {
    name: &'static str,
    size: u64,
}

const SECOND_NS: u64 = 1_000_000_000;

/// Units of times below a minute.
const TIMES: [Unit; 4] = [
    Unit { name: "ns", size: 1 },
    Unit { name: "µs", size: 1_000 },
    Unit { name: "ms", size: 1_000_000 },
    Unit { name: "s", size: SECOND_NS },
];

const SIZES: [Unit; 6] = [
    Unit { name: "B", size: 1 },
    Unit { name: "KiB", size: 1 << 10 },
    Unit { name: "MiB", size: 1 << 20 },
    Unit { name: "GiB", size: 1 << 30 },
    Unit { name: "TiB", size: 1 << 40 },
    Unit { name: "PiB", size: 1 << 50 },
];

/// Four digits exceed the columns: 1,000 KiB is shown as 1.0 MiB.
const THREE_DIGITS: u64 = 1000;

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

const NS_PER_US: u64 = 1000;
const BYTES_PER_KIB: u64 = 1024;

/// Returns a time in nanoseconds as text: `0 s`, `850 ns`, `1.2 ms`, `59 s`, `1m 05s`, `3h 12m`, `2d 04h`.
pub(crate) fn nanoseconds(value: u64) -> String {
    if value == 0 {
        return "0 s".to_owned();
    }
    let seconds = rounded(value, SECOND_NS);
    if seconds < MINUTE {
        return scaled(value, &TIMES);
    }
    match seconds {
        ..HOUR => format!("{}m {:02}s", seconds / MINUTE, seconds % MINUTE),
        HOUR..DAY => format!("{}h {:02}m", seconds / HOUR, seconds % HOUR / MINUTE),
        DAY.. => format!("{}d {:02}h", seconds / DAY, seconds % DAY / HOUR),
    }
}

/// Returns a time in microseconds as text, as [`nanoseconds`] does.
pub(crate) fn microseconds(value: u64) -> String {
    nanoseconds(value.saturating_mul(NS_PER_US))
}

/// Returns a size in bytes as text: `0 B`, `1.5 KiB`, `34 MiB`.
pub(crate) fn bytes(value: u64) -> String {
    scaled(value, &SIZES)
}

/// Returns a size in KiB as text, as [`bytes`] does.
pub(crate) fn kibibytes(value: u64) -> String {
    bytes(value.saturating_mul(BYTES_PER_KIB))
}

/// Returns the value in the smallest unit that needs at most three digits, with a decimal after a
/// single digit.
fn scaled(value: u64, units: &[Unit]) -> String {
    let fits = |unit: &&Unit| rounded(value, unit.size) < THREE_DIGITS;
    let Some(unit) = units.iter().find(fits).or(units.last()) else { return value.to_string() };
    let tenths = rounded(value.saturating_mul(10), unit.size);
    if unit.size > 1 && tenths < 100 {
        return format!("{}.{} {}", tenths / 10, tenths % 10, unit.name);
    }
    format!("{} {}", rounded(value, unit.size), unit.name)
}

fn rounded(value: u64, size: u64) -> u64 {
    value.saturating_add(size / 2) / size
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_time_has_the_unit_of_its_size() {
        let table = [
            (0, "0 s"),
            (1, "1 ns"),
            (850, "850 ns"),
            (999, "999 ns"),
            (1000, "1.0 µs"),
            (1_249_999, "1.2 ms"),
            (9_949_999, "9.9 ms"),
            (9_960_000, "10 ms"),
            (999_499_999, "999 ms"),
            (999_500_000, "1.0 s"),
            (59_499_999_999, "59 s"),
            (59_500_000_000, "1m 00s"),
            (65 * SECOND_NS, "1m 05s"),
            (11_520 * SECOND_NS, "3h 12m"),
            (187_200 * SECOND_NS, "2d 04h"),
        ];
        for (value, shown) in table {
            assert_eq!(nanoseconds(value), shown, "{value}");
        }
        assert_eq!(microseconds(1_200), "1.2 ms");
    }

    #[test]
    fn a_size_has_the_unit_of_its_size() {
        let table = [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.0 KiB"),
            (1536, "1.5 KiB"),
            (34 << 20, "34 MiB"),
            (1_023 << 20, "1.0 GiB"),
        ];
        for (value, shown) in table {
            assert_eq!(bytes(value), shown, "{value}");
        }
        assert_eq!(kibibytes(34 << 10), "34 MiB");
    }

    proptest! {
        /// The widths of the tables' columns depend on this.
        #[test]
        fn a_value_fits_eight_characters(ns in 0..365 * DAY * SECOND_NS, size in 0..1_u64 << 59) {
            prop_assert!(nanoseconds(ns).chars().count() <= 8);
            prop_assert!(bytes(size).chars().count() <= 8);
        }
    }
}
