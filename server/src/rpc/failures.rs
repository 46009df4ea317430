//! Failures of the agent or the kernel, which no caller can correct.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tonic::Status;

use crate::telemetry::Throttle;

/// The shortest time between two errors in the log, so that failing calls cannot fill it.
const FAILURE_INTERVAL: Duration = Duration::from_secs(10);

/// Counts and logs failures.
pub(super) struct Failures {
    last: AtomicU64,
    lines: Throttle,
}

impl Failures {
    pub(super) const fn new() -> Self {
        Self { last: AtomicU64::new(0), lines: Throttle::new(FAILURE_INTERVAL) }
    }

    /// Logs the cause and returns a status with an id to find it by. The first failure in an interval
    /// is logged as an error, the others at level debug.
    pub(super) fn report(&self, cause: &str, now: Instant) -> Status {
        let number = self.last.fetch_add(1, Ordering::Relaxed) + 1;
        let id = format!("{}-{number}", std::process::id());
        if let Some(suppressed) = self.lines.pass(now) {
            tracing::error!(id, cause, suppressed, "call failed");
            return Status::internal(format!(
                "the agent failed; its log has the cause under id {id}"
            ));
        }
        tracing::debug!(id, cause, "call failed");
        Status::internal(format!(
            "the agent failed, as it did shortly before; its log has the cause of that, and of this \
             under id {id} where --log is debug"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each failure has an id, and at most one in an interval is logged as an error.
    #[test]
    fn many_failures_are_few_lines() {
        let (failures, start) = (Failures::new(), Instant::now());
        let is_error = |now, number: u64| {
            let status = failures.report("x", now);
            assert!(status.message().contains(&format!("-{number}")), "{status}");
            !status.message().contains("debug")
        };
        assert!(is_error(start, 1));
        assert!(!is_error(start, 2));
        assert!(!is_error(start + FAILURE_INTERVAL / 2, 3));
        assert!(is_error(start + FAILURE_INTERVAL, 4));
    }
}
