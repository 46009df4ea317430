//! Numbers: order statistics, and counts and times as fractions.

use std::time::Duration;

/// The middle of `values`, or the mean of the two in the middle; 0 when there are none.
pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match (sorted.len().is_multiple_of(2), sorted.get(middle)) {
        (_, None) => 0.0,
        (false, Some(value)) => *value,
        (true, Some(value)) => f64::midpoint(sorted[middle - 1], *value),
    }
}

/// The value below which `percent` of the ascending `sorted` lie; `None` when there are none.
pub(crate) fn percentile(sorted: &[u64], percent: usize) -> Option<u64> {
    const HUNDRED: usize = 100;
    let rank = sorted.len().saturating_sub(1) * percent / HUNDRED;
    sorted.get(rank).copied()
}

/// A count as a fraction's part.
#[expect(clippy::cast_precision_loss, reason = "no count of a run comes near 2^53")]
pub(crate) fn float(count: u64) -> f64 {
    count as f64
}

/// Returns true if two values computed in different ways are equal but for rounding.
pub(crate) fn same(one: f64, other: f64) -> bool {
    (one - other).abs() < f64::EPSILON
}

/// Shows three digits of small values, and no fraction of large ones and of counts.
pub(crate) fn digits(value: f64) -> String {
    const LARGE: f64 = 100.0;
    if value.abs() >= LARGE || same(value, 0.0) {
        format!("{value:.0}")
    } else {
        format!("{value:.3}")
    }
}

/// A time in microseconds.
pub(crate) fn microseconds(time: Duration) -> f64 {
    const PER_SECOND: f64 = 1e6;
    time.as_secs_f64() * PER_SECOND
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An even number of rounds has no middle one.
    #[test]
    fn median_is_the_middle_or_between_the_two() {
        assert!((median(&[3.0, 1.0, 2.0]) - 2.0).abs() < f64::EPSILON);
        assert!((median(&[4.0, 1.0, 2.0, 3.0]) - 2.5).abs() < f64::EPSILON);
        assert!(median(&[]).abs() < f64::EPSILON);
    }

    /// The 99th of a hundred is not the longest.
    #[test]
    fn percentile_counts_ranks() {
        let sorted: Vec<u64> = (1..=100).collect();
        assert_eq!(percentile(&sorted, 99), Some(99));
        assert_eq!(percentile(&sorted, 50), Some(50));
        assert_eq!(percentile(&[], 50), None);
    }
}
