//! Failures that are the agent's or the kernel's, and no caller's.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tonic::Status;

use crate::telemetry::Throttle;

/// The shortest time between two errors in the log: who makes calls fail does not fill it.
const FAILURE_INTERVAL: Duration = Duration::from_secs(10);

/// Those of an agent so far.
pub(super) struct Failures {
    last: AtomicU64,
    lines: Throttle,
}

impl Failures {
    pub(super) const fn new() -> Self {
        Self { last: AtomicU64::new(0), lines: Throttle::new(FAILURE_INTERVAL) }
    }

    /// Keeps the cause in the log and gives the caller an id to find it by. Of many failures the first
    /// is an error there, and all are in the log of level debug.
    pub(super) fn report(&self, cause: &str, now: Instant) -> Status {
        let number = self.last.fetch_add(1, Ordering::Relaxed) + 1;
        let id = format!("{}-{number}", std::process::id());
        if let Some(untold) = self.lines.pass(now) {
            tracing::error!(id, cause, untold, "a call failed");
            return Status::internal(format!(
                "the agent failed; its log has the cause under id {id}"
            ));
        }
        tracing::debug!(id, cause, "a call failed");
        Status::internal(format!(
            "the agent failed, as it did shortly before; its log has the cause of that, and of this \
             under id {id} where --log is debug"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each has its id, and no more than one in the interval is an error in the log.
    #[test]
    fn many_failures_are_few_lines() {
        let (failures, start) = (Failures::new(), Instant::now());
        let told = |now, number: u64| {
            let status = failures.report("x", now);
            assert!(status.message().contains(&format!("-{number}")), "{status}");
            !status.message().contains("debug")
        };
        assert!(told(start, 1));
        assert!(!told(start, 2));
        assert!(!told(start + FAILURE_INTERVAL / 2, 3));
        assert!(told(start + FAILURE_INTERVAL, 4));
    }
}
