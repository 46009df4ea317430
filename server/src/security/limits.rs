//! Limits of what callers may hold at the same time.

use std::fmt;

/// The unit of shares.
const PERCENT: usize = 100;
/// The part of a resource that is reserved for principals that hold none of it: an eighth. An agent has few
/// callers, so each gets a unit, whatever the order of greedy ones; and eight greedy callers leave as much
/// anyway.
const NEWCOMERS: usize = 8;
/// Connections over the limit that get a status, at the same time. Each lasts 2 s at most and needs some
/// kilobytes for HTTP/2. The few callers of an operator all get their status; those beyond are closed.
pub(crate) const MAX_OVERFLOW: usize = 64;
/// Health checks in flight of a principal, of which `--principal-share` applies. A prober has one at a time.
pub(crate) const MAX_HEALTH_CHECKS: usize = 8;

/// Connections of a principal without any role: the probes of a kubelet, which may come together.
pub(super) const MAX_WITHOUT_ROLE: usize = 4;

/// A resource that is limited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Resource {
    /// Connections of all listeners.
    Connection,
    /// Connections of a principal without any role. They are counted as [`Resource::Connection`].
    ConnectionWithoutRole,
    /// Exit streams.
    Watcher,
    /// Calls whose responses have not been sent completely.
    Call,
    /// Calls that query the kernel beside the event loop, or whose large responses have not been sent
    /// completely.
    SlowCall,
    /// Streams of the health service and of reflection.
    Stream,
    /// Health checks.
    HealthCheck,
    /// Connections over the limit that get a status before they are closed.
    Overflow,
}

/// The limit of each resource, and the share of one principal.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Maximum concurrent connections.
    pub(crate) connections: usize,
    /// Maximum concurrent connections beyond those, which get a status before they are closed.
    pub(crate) overflow: usize,
    /// Maximum concurrent exit streams.
    pub(crate) watchers: usize,
    /// Maximum in-flight calls. Streams of health and reflection have the same limit, and are counted
    /// separately.
    pub(crate) calls: usize,
    /// Maximum in-flight calls whose kernel time grows with the request: `GetTgid`, `BatchGet`, `GetNode`.
    pub(crate) slow_calls: usize,
    /// The share of each resource that a single principal may hold, in percent, and one unit at least. With
    /// others it is less, see [`Limits::allow`].
    pub(crate) share_percent: usize,
    /// Maximum calls a second of one principal; 0 means no limit.
    pub(crate) call_rate: u32,
}

/// A limit was reached, of all principals or of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LimitReached {
    /// The resource.
    pub(crate) resource: Resource,
    /// The limit.
    pub(crate) limit: usize,
    /// The units that the principal holds.
    pub(crate) own: usize,
    /// The units that are free, for other principals.
    pub(crate) free: usize,
}

impl Resource {
    pub(super) const COUNT: usize = 8;
}

impl Limits {
    /// Returns the limit of a resource.
    #[must_use]
    pub(crate) const fn of(&self, resource: Resource) -> usize {
        match resource {
            Resource::Connection => self.connections,
            Resource::ConnectionWithoutRole => MAX_WITHOUT_ROLE,
            Resource::Watcher => self.watchers,
            Resource::Call | Resource::Stream => self.calls,
            Resource::HealthCheck => MAX_HEALTH_CHECKS,
            Resource::SlowCall => self.slow_calls,
            Resource::Overflow => self.overflow,
        }
    }

    /// Allows a principal that holds `own` units to acquire one more, while all principals hold `all`.
    ///
    /// The condition is `own / free < share / (100 - share)`: the dynamic threshold by which Choudhury and
    /// Hahne (1998) share the buffer of a switch. A single principal gets its share. Of `n` principals that
    /// acquire as much as they can, each gets `limit * share / (100 - share + n * share)`, and with a share
    /// of one half as much is free then. A principal that holds none may acquire the last free unit; at most
    /// an eighth of the limit is reserved for such principals.
    ///
    /// # Errors
    ///
    /// The limit is reached.
    pub(crate) fn allow(
        &self,
        resource: Resource,
        own: usize,
        all: usize,
    ) -> Result<(), LimitReached> {
        let limit = self.of(resource);
        let free = limit.saturating_sub(match resource {
            // Other principals do not count: if some could use up the health checks of all, the agent would
            // be restarted because of them.
            Resource::HealthCheck => own,
            _ => all,
        });
        let allowed = match own {
            0 => free > 0,
            _ => free > self.reserved_of(limit) && self.is_below_threshold(own, free),
        };
        if allowed { Ok(()) } else { Err(LimitReached { resource, limit, own, free }) }
    }

    /// Products that overflow are equal, and so not below.
    const fn is_below_threshold(&self, own: usize, free: usize) -> bool {
        let rest = PERCENT.saturating_sub(self.share_percent);
        own.saturating_mul(rest) < free.saturating_mul(self.share_percent)
    }

    /// Returns what is reserved for principals that hold none: no more than a single principal leaves.
    fn reserved_of(&self, limit: usize) -> usize {
        let share = limit.saturating_mul(self.share_percent).div_ceil(PERCENT);
        limit.saturating_sub(share).min(limit.div_ceil(NEWCOMERS))
    }
}

impl Resource {
    /// Returns the name in singular and plural, and the flag of the limit.
    const fn words(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::Connection => {
                let flag = "--max-connections, or fewer where descriptors are few";
                ("connection", "connections", flag)
            }
            Self::ConnectionWithoutRole => {
                let flag = "a fixed number; --allow gives a role";
                ("connection without a role", "connections without a role", flag)
            }
            Self::Watcher => ("watcher", "watchers", "--max-watchers"),
            Self::Call => ("in-flight call", "in-flight calls", "--max-calls"),
            Self::SlowCall => ("slow call", "slow calls", "--max-slow-calls"),
            Self::Stream => {
                ("stream of health or reflection", "streams of health or reflection", "--max-calls")
            }
            Self::HealthCheck => ("health check", "health checks", "a fixed number"),
            Self::Overflow => {
                ("overflowing connection", "overflowing connections", "a fixed number")
            }
        }
    }
}

impl fmt::Display for LimitReached {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { limit, own, free, resource } = self;
        let (one, many, flag) = resource.words();
        if *free == 0 {
            return write!(
                formatter,
                "no {one} is left of {limit} ({flag}), of which this caller holds {own}"
            );
        }
        let is = if *free == 1 { "is" } else { "are" };
        write!(
            formatter,
            "this caller holds {own} of {limit} {many} ({flag}), and {free} {is} kept free for others (--principal-share)"
        )
    }
}

#[cfg(test)]
mod tests;
