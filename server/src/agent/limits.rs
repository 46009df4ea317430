//! Watches the limits of this process (`getrlimit(2)`), which any process of the same user can lower and none
//! without privileges can raise again.

use std::convert::Infallible;
use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit, rlim_t};

/// The time between two looks.
const INTERVAL: Duration = Duration::from_secs(10);

/// The limits of which the agent needs more than a few, with the settings of a unit that raise them.
const WATCHED: [(Resource, &str); 6] = [
    (Resource::RLIMIT_NOFILE, "LimitNOFILE"),
    (Resource::RLIMIT_AS, "LimitAS"),
    (Resource::RLIMIT_DATA, "LimitDATA"),
    (Resource::RLIMIT_FSIZE, "LimitFSIZE"),
    (Resource::RLIMIT_CPU, "LimitCPU"),
    (Resource::RLIMIT_MEMLOCK, "LimitMEMLOCK"),
];

pub(super) type Limits = [rlim_t; WATCHED.len()];

/// Logs each limit that is lower than the last known one. It does not return.
pub(super) async fn warn_of_lowered_limits(mut last: Limits) -> Infallible {
    loop {
        tokio::time::sleep(INTERVAL).await;
        let now = soft_limits();
        for (name, from, to) in lowered(&last, &now) {
            tracing::warn!(
                limit = name,
                from,
                to,
                "another process of this user lowered a limit of the agent, which only a restart raises again; give the agent a user of its own"
            );
        }
        last = now;
    }
}

/// Returns the present limits. One that cannot be read counts as none.
pub(super) fn soft_limits() -> Limits {
    WATCHED.map(|(resource, _)| getrlimit(resource).map_or(rlim_t::MAX, |(soft, _)| soft))
}

fn lowered<'a>(
    last: &'a Limits,
    now: &'a Limits,
) -> impl Iterator<Item = (&'static str, rlim_t, rlim_t)> + 'a {
    let limits = WATCHED.iter().zip(last).zip(now);
    limits
        .filter(|((_, last), now)| now < last)
        .map(|(((_, name), last), now)| (*name, *last, *now))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_lowered_limits_are_reported() {
        let last = [10, 20, 30, 40, 50, 60];
        let now = [10, 19, 31, 40, 0, 60];
        let expected = [("LimitAS", 20, 19), ("LimitCPU", 50, 0)];
        assert!(lowered(&last, &now).eq(expected));
    }
}
