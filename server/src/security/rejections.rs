//! What was refused because of a limit or waits for one, or was refused for want of a role: counted
//! always, told seldom.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::telemetry::Throttle;

/// Between two warnings about the same limit.
const WARNING_INTERVAL: Duration = Duration::from_secs(10);

/// A limit that callers can run into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// `--max-connections`: told so and closed, or closed at once.
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
    /// Calls that were not answered in time, mostly because their request never came whole.
    CallTime,
    /// `--idle-timeout`.
    IdleTime,
    /// `--handshake-timeout`, and handshakes that gave way to another one, as there were too many.
    HandshakeTime,
    /// Connections that were closed because of what they did to HTTP/2.
    Protocol,
    /// `--max-streams`: a connection had all of its streams in use. Nothing is refused: further calls
    /// wait in the caller.
    Streams,
}

/// How often each limit was hit.
#[derive(Debug)]
pub struct RejectionCounters {
    limits: [Count; Limit::ALL.len()],
    /// For want of a role.
    denied: Count,
}

#[derive(Debug)]
struct Count {
    total: AtomicU64,
    warning: Throttle,
}

impl Limit {
    /// By number.
    pub const ALL: [Self; 11] = [
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

    /// Whether an operator should hear of it. A connection that nobody uses is closed as a rule.
    const fn is_worth_a_warning(self) -> bool {
        !matches!(self, Self::IdleTime)
    }

    /// What a warning begins with.
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
    /// Counts one, and warns of it unless there was a warning shortly before: who ran into what.
    pub fn add(&self, limit: Limit, who: &dyn fmt::Display, what: &dyn fmt::Display) {
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

    /// Counts a call that its caller may not make, and warns as [`RejectionCounters::add`] does.
    pub fn deny(&self, who: &dyn fmt::Display, what: &dyn fmt::Display) {
        self.denied.total.fetch_add(1, Ordering::Relaxed);
        if let Some(untold) = self.denied.warning.pass(Instant::now()) {
            tracing::warn!(principal = %who, untold, "denied: {what}");
        }
    }

    /// How many calls were denied.
    #[must_use]
    pub fn denied(&self) -> u64 {
        self.denied.total.load(Ordering::Relaxed)
    }

    /// How often the limit was hit.
    #[must_use]
    pub fn count(&self, limit: Limit) -> u64 {
        self.limits[limit as usize].total.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_limit_is_counted_by_itself() {
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
