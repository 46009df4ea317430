//! The system's clocks, as lengths of time.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::time::{ClockId, clock_gettime};

/// The time since 1970, by the clock of the wall, which people and NTP set; zero while it stands before.
#[must_use]
pub fn since_1970() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// The time since the boot, also that in which the machine slept (`CLOCK_BOOTTIME`). Nobody sets it.
/// [`std::time::Instant`] stands still meanwhile.
#[must_use]
pub fn since_boot() -> Duration {
    // Fails for a clock that the kernel does not have; it has had this one since 2.6.39
    // (`clock_gettime(2)`).
    clock_gettime(ClockId::CLOCK_BOOTTIME).map(Duration::from).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// `/proc/uptime` is told by this clock too, in hundredths of a second, rounded down.
    fn uptime() -> Duration {
        let told = fs::read_to_string("/proc/uptime").unwrap();
        let seconds = told.split_whitespace().next().unwrap().parse().unwrap();
        Duration::from_secs_f64(seconds)
    }

    #[test]
    fn the_time_since_the_boot_is_the_uptime() {
        let (before, found, after) = (uptime(), since_boot(), uptime());
        assert!(before <= found, "{found:?} at an uptime of {before:?}");
        assert!(found <= after + Duration::from_millis(10), "{found:?} at an uptime of {after:?}");
    }
}
