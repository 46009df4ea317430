//! How long a run takes.

use serde::Serialize;

use crate::args::SuiteArgs;

/// What is spent on a run.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct Effort {
    /// Rounds; each runs every variant once.
    pub(crate) rounds: u32,
    /// How long a variant runs in a round, in seconds.
    pub(crate) seconds: u32,
    /// How long losses are looked for at full speed, in seconds.
    pub(crate) lost_seconds: u32,
    /// How much silence is looked at, in seconds.
    pub(crate) idle_seconds: u32,
}

/// Five rounds are the least whose median withstands two that were disturbed.
const FULL: Effort = Effort { rounds: 5, seconds: 2, lost_seconds: 60, idle_seconds: 60 };
/// A look that takes about a minute: good to see that everything works, not to judge by.
const QUICK: Effort = Effort { rounds: 1, seconds: 1, lost_seconds: 5, idle_seconds: 5 };

impl Effort {
    /// What the command line asks for.
    pub(crate) fn of(args: &SuiteArgs) -> Self {
        let default = if args.quick { QUICK } else { FULL };
        Self {
            rounds: args.rounds.unwrap_or(default.rounds),
            seconds: args.seconds.unwrap_or(default.seconds),
            lost_seconds: args.lost_seconds.unwrap_or(default.lost_seconds),
            idle_seconds: args.idle_seconds.unwrap_or(default.idle_seconds),
        }
    }
}
