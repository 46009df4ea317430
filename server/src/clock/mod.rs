//! The system's clocks, as durations, and timestamps that survive a step of the wall clock.

mod timestamp;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::time::{ClockId, clock_gettime};

pub(crate) use timestamp::StepAwareTime;

/// Returns the time since the Unix epoch by the wall clock, which can be set; zero before the epoch.
#[must_use]
pub(crate) fn unix_time() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// Returns the time since the boot, including suspend time (`CLOCK_BOOTTIME`). This clock cannot be set.
/// [`std::time::Instant`] does not advance during suspend.
#[must_use]
pub(crate) fn uptime() -> Duration {
    // `clock_gettime` fails only for a clock that the kernel lacks; CLOCK_BOOTTIME exists since 2.6.39.
    clock_gettime(ClockId::CLOCK_BOOTTIME).map(Duration::from).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// Reads `/proc/uptime`: hundredths of a second of the same clock, rounded down.
    fn proc_uptime() -> Duration {
        let text = fs::read_to_string("/proc/uptime").unwrap();
        let seconds = text.split_whitespace().next().unwrap().parse().unwrap();
        Duration::from_secs_f64(seconds)
    }

    #[test]
    fn uptime_agrees_with_procfs() {
        let (before, found, after) = (proc_uptime(), uptime(), proc_uptime());
        assert!(before <= found, "{found:?} at an uptime of {before:?}");
        assert!(found <= after + Duration::from_millis(10), "{found:?} at an uptime of {after:?}");
    }
}
