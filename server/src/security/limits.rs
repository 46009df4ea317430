//! How much of the agent callers may hold at once.

use std::fmt;

/// Of a hundred.
const PERCENT: usize = 100;
/// The part of a resource that is kept for those who hold none of it: an eighth. Few callers use the
/// agent of a node, so that each of them gets one, whatever order greedy ones came in; and it is no more
/// than what eight greedy callers leave in any case.
const NEWCOMERS: usize = 8;
/// Connections over the limit that are told so, at once. Each lasts 2 s at most and is served by HTTP/2,
/// which takes some kilobytes; an operator's few callers all get their answer, and a crowd is closed.
pub const MAX_OVERFLOW: usize = 64;
/// Health checks in flight of a principal, of which `--principal-share` applies. A prober has one at a time.
pub const MAX_HEALTH_CHECKS: usize = 8;

/// Something of which the agent has so much and no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resource {
    /// Connections of all listeners.
    Connection,
    /// Exit streams.
    Watcher,
    /// Calls whose answers have not gone yet.
    Call,
    /// Calls that wait for the kernel beside the event loop, or whose large answers have not gone yet.
    SlowCall,
    /// Streams that are no exit streams: of the health, and of reflection.
    Stream,
    /// Questions for the health.
    HealthCheck,
    /// Connections over the limit that are told so before they are closed.
    Overflow,
}

/// How much there is of each, and how much of that one principal may hold.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at once.
    pub connections: usize,
    /// Connections over that, at once, that are told so before they are closed.
    pub overflow: usize,
    /// Exit streams at once.
    pub watchers: usize,
    /// Calls at once whose answers have not gone yet; also other streams than those of exits, counted
    /// apart.
    pub calls: usize,
    /// Those of them whose kernel time grows with what they ask for, at once: `GetTgid`, `BatchGet`,
    /// `GetNode`.
    pub slow_calls: usize,
    /// How much of each of these one principal may hold that is alone, in percent, and one at least.
    /// Others leave it less, see [`Limits::allow`].
    pub share_percent: usize,
    /// Calls a second of one principal; 0 for any number.
    pub call_rate: u32,
}

/// Nothing is left of a resource, for everybody or for one principal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LimitReached {
    /// Of what.
    pub resource: Resource,
    /// How much there is.
    pub limit: usize,
    /// How much of it the principal holds.
    pub own: usize,
    /// How much of it nobody holds, and is for other principals.
    pub free: usize,
}

impl Resource {
    pub(super) const COUNT: usize = 7;
}

impl Limits {
    /// How much there is.
    #[must_use]
    pub const fn of(&self, resource: Resource) -> usize {
        match resource {
            Resource::Connection => self.connections,
            Resource::Watcher => self.watchers,
            Resource::Call | Resource::Stream => self.calls,
            Resource::HealthCheck => MAX_HEALTH_CHECKS,
            Resource::SlowCall => self.slow_calls,
            Resource::Overflow => self.overflow,
        }
    }

    /// Lets a principal that holds `own` of a resource take one more, while all together hold `all`.
    ///
    /// It may as long as what it holds, to what is free, is less than its share to the rest: the dynamic
    /// threshold of Choudhury and Hahne (1998), which share the buffer of a switch so. Who is alone gets
    /// its share; `n` who take all they can get limit * share / (100 - share + n * share) each, and as
    /// much as one of them holds is free then, if the share is one half. Who holds none may take what is
    /// free to the last, and from what is kept for them, an eighth at most, nobody else may.
    ///
    /// # Errors
    ///
    /// It may not.
    pub fn allow(&self, resource: Resource, own: usize, all: usize) -> Result<(), LimitReached> {
        let limit = self.of(resource);
        let free = limit.saturating_sub(match resource {
            // Each principal is as if it were alone: if some could use up those of all, the agent would
            // be restarted for it.
            Resource::HealthCheck => own,
            _ => all,
        });
        let allowed = match own {
            0 => free > 0,
            _ => free > self.kept_of(limit) && self.is_below_threshold(own, free),
        };
        if allowed { Ok(()) } else { Err(LimitReached { resource, limit, own, free }) }
    }

    /// Numbers that are too large to be multiplied are compared as equal, so as not below.
    const fn is_below_threshold(&self, own: usize, free: usize) -> bool {
        let rest = PERCENT.saturating_sub(self.share_percent);
        own.saturating_mul(rest) < free.saturating_mul(self.share_percent)
    }

    /// What is for those alone who hold none: no more than what is left by somebody who is alone.
    fn kept_of(&self, limit: usize) -> usize {
        let share = limit.saturating_mul(self.share_percent).div_ceil(PERCENT);
        limit.saturating_sub(share).min(limit.div_ceil(NEWCOMERS))
    }
}

impl Resource {
    /// What it is called, one of it and many, and the flag that says how much there is.
    const fn words(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::Connection => {
                let flag = "--max-connections, or fewer where descriptors are few";
                ("connection", "connections", flag)
            }
            Self::Watcher => ("watcher", "watchers", "--max-watchers"),
            Self::Call => ("unanswered call", "unanswered calls", "--max-calls"),
            Self::SlowCall => ("slow call", "slow calls", "--max-slow-calls"),
            Self::Stream => {
                ("stream of health or reflection", "streams of health or reflection", "--max-calls")
            }
            Self::HealthCheck => ("health check", "health checks", "a fixed number"),
            Self::Overflow => {
                ("connection to turn away", "connections to turn away", "a fixed number")
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
