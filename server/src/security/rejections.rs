//! Counters of what was rejected because of a limit or a missing role, with throttled log lines.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::telemetry::Throttle;

/// The time between two warnings about the same limit.
const WARNING_INTERVAL: Duration = Duration::from_secs(10);

/// A limit that callers can run into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Limit {
    /// `--max-connections`: the connection was closed, with or without a status before.
    Connections,
    /// `--max-watchers`.
    Watchers,
    /// `--max-calls` and `--max-slow-calls`.
    Calls,
    /// `--max-call-rate`.
    CallRate,
    /// `--max-request-size`.
    RequestSize,
    /// `--max-header-size`.
    HeaderSize,
    /// Calls that exceeded their deadline, mostly because their request never arrived completely.
    CallTime,
    /// `--idle-timeout`.
    IdleTime,
    /// `--handshake-timeout`, and handshakes that were aborted because there were too many.
    HandshakeTime,
    /// Connections that were closed because they misused HTTP/2.
    Protocol,
    /// `--max-streams`: a connection had all of its streams in use. Further calls wait in the client.
    Streams,
}

/// Counts how often each limit was hit.
#[derive(Debug)]
pub(crate) struct RejectionCounters {
    limits: [Count; Limit::ALL.len()],
    /// Calls without the role that they need.
    denied: Count,
}

#[derive(Debug)]
struct Count {
    total: AtomicU64,
    warning: Throttle,
}

impl Limit {
    /// All limits, by number.
    pub(crate) const ALL: [Self; 11] = [
        Self::Connections,
        Self::Watchers,
        Self::Calls,
        Self::CallRate,
        Self::RequestSize,
        Self::HeaderSize,
        Self::CallTime,
        Self::IdleTime,
        Self::HandshakeTime,
        Self::Protocol,
        Self::Streams,
    ];

    /// Returns whether it is logged as a warning. That an idle connection is closed is normal.
    const fn is_worth_a_warning(self) -> bool {
        !matches!(self, Self::IdleTime)
    }

    /// Returns the first word of a warning.
    const fn verb(self) -> &'static str {
        match self {
            Self::Streams => "reached",
            _ => "refused",
        }
    }
}

impl Default for Count {
    fn default() -> Self {
        Self { total: AtomicU64::new(0), warning: Throttle::new(WARNING_INTERVAL) }
    }
}

impl Default for RejectionCounters {
    fn default() -> Self {
        Self { limits: Limit::ALL.map(|_| Count::default()), denied: Count::default() }
    }
}

impl RejectionCounters {
    /// Counts a rejection of `who`, and logs it unless one was logged shortly before.
    pub(crate) fn add(&self, limit: Limit, who: &dyn fmt::Display, what: &dyn fmt::Display) {
        let count = &self.limits[limit as usize];
        count.total.fetch_add(1, Ordering::Relaxed);
        if !limit.is_worth_a_warning() {
            tracing::debug!(principal = %who, "{what}");
            return;
        }
        if let Some(untold) = count.warning.pass(Instant::now()) {
            tracing::warn!(principal = %who, untold, "{}: {what}", limit.verb());
        }
    }

    /// Counts a call without the role that it needs, and logs it as [`RejectionCounters::add`] does.
    pub(crate) fn deny(&self, who: &dyn fmt::Display, what: &dyn fmt::Display) {
        self.denied.total.fetch_add(1, Ordering::Relaxed);
        if let Some(untold) = self.denied.warning.pass(Instant::now()) {
            tracing::warn!(principal = %who, untold, "denied: {what}");
        }
    }

    /// Returns how many calls were denied.
    #[must_use]
    pub(crate) fn denied(&self) -> u64 {
        self.denied.total.load(Ordering::Relaxed)
    }

    /// Returns how often the limit was hit.
    #[must_use]
    pub(crate) fn count(&self, limit: Limit) -> u64 {
        self.limits[limit as usize].total.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_counted_separately() {
        for (number, limit) in Limit::ALL.into_iter().enumerate() {
            assert_eq!(limit as usize, number);
            let rejections = RejectionCounters::default();
            rejections.add(limit, &"someone", &"too much");
            for other in Limit::ALL {
                assert_eq!(rejections.count(other), u64::from(other == limit));
            }
        }
    }
}
