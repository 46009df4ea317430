//! How much of the agent callers may hold at once.

use std::fmt;

/// Of a hundred.
const PERCENT: usize = 100;

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
}

/// How much there is of each, and how much of that one principal may hold.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at once.
    pub connections: usize,
    /// Exit streams at once.
    pub watchers: usize,
    /// Calls at once whose answers have not gone yet; also other streams than those of exits, and the
    /// questions for the health, each of them counted apart.
    pub calls: usize,
    /// Those of them whose kernel time grows with what they ask for, at once: `GetTgid`, `BatchGet`,
    /// `GetNode`.
    pub slow_calls: usize,
    /// How much of each of these one principal may hold, in percent, and one at least.
    pub share_percent: usize,
    /// Calls a second of one principal; 0 for any number.
    pub call_rate: u32,
}

/// Nothing is left of a resource, for everybody or for one principal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full {
    /// Of what.
    pub resource: Resource,
    /// How much there is.
    pub limit: usize,
    /// What one principal may hold of it, if that is what is used up.
    pub share: Option<usize>,
}

impl Resource {
    pub(super) const COUNT: usize = 6;
}

impl Limits {
    /// How much there is.
    #[must_use]
    pub const fn of(&self, resource: Resource) -> usize {
        match resource {
            Resource::Connection => self.connections,
            Resource::Watcher => self.watchers,
            Resource::Call | Resource::Stream | Resource::HealthCheck => self.calls,
            Resource::SlowCall => self.slow_calls,
        }
    }

    /// How much of it all may hold together. Only a share bounds the questions for the health: if some
    /// could use up those of all, the agent would be restarted for it.
    pub(super) const fn of_all(&self, resource: Resource) -> usize {
        match resource {
            Resource::HealthCheck => usize::MAX,
            limited => self.of(limited),
        }
    }

    /// How much of it one principal may hold, so that something is left for others.
    #[must_use]
    pub const fn share_of(&self, resource: Resource) -> usize {
        let share = self.of(resource).saturating_mul(self.share_percent).div_ceil(PERCENT);
        if share == 0 { 1 } else { share }
    }
}

impl fmt::Display for Full {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { limit, .. } = self;
        let is_one = self.share.unwrap_or(*limit) == 1;
        let (one, many, flag) = match self.resource {
            Resource::Connection => {
                ("connection is open", "connections are open", "--max-connections")
            }
            Resource::Watcher => {
                ("watcher is connected", "watchers are connected", "--max-watchers")
            }
            Resource::Call => {
                ("call waits for its answer", "calls wait for their answers", "--max-calls")
            }
            Resource::SlowCall => {
                ("slow call runs already", "slow calls run already", "--max-slow-calls")
            }
            Resource::Stream => (
                "stream of health or reflection is open",
                "streams of health or reflection are open",
                "--max-calls",
            ),
            Resource::HealthCheck => (
                "health check waits for its answer",
                "health checks wait for their answers",
                "--max-calls",
            ),
        };
        let what = if is_one { one } else { many };
        match self.share {
            None => write!(formatter, "{limit} {what}, which is the limit ({flag})"),
            Some(share) => write!(
                formatter,
                "{share} {what} of this caller alone, which is its share of {limit} ({flag}, --principal-share)"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_told_as_one() {
        let said = |limit, share| Full { resource: Resource::Watcher, limit, share }.to_string();
        assert!(said(1, None).starts_with("1 watcher is connected, "), "{}", said(1, None));
        assert!(said(2, Some(1)).starts_with("1 watcher is connected of this caller alone, "));
        assert!(said(2, None).starts_with("2 watchers are connected, "), "{}", said(2, None));
    }

    #[test]
    fn a_share_is_never_nothing_and_never_more_than_there_is() {
        for (connections, share_percent, share) in
            [(1, 50, 1), (2, 50, 1), (3, 50, 2), (100, 50, 50), (7, 100, 7), (5, 1, 1)]
        {
            let (watchers, calls, slow_calls, call_rate) = (1, 1, 1, 0);
            let limits =
                Limits { connections, watchers, calls, slow_calls, share_percent, call_rate };
            assert_eq!(limits.share_of(Resource::Connection), share, "{limits:?}");
        }
    }
}
