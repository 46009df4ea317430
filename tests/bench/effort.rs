//! The duration of a run.

use serde::Serialize;

use crate::args::SuiteArgs;

/// The time for each part of a run.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct Effort {
    /// Rounds; each runs every variant once.
    pub(crate) rounds: u32,
    /// The duration of each variant in a round, in seconds.
    pub(crate) seconds: u32,
    /// The duration of the measurement of losses at full speed, in seconds.
    pub(crate) lost_seconds: u32,
    /// The silence that is observed, in seconds.
    pub(crate) idle_seconds: u32,
}

/// Five rounds are the least whose median withstands two that were disturbed.
const FULL: Effort = Effort { rounds: 5, seconds: 2, lost_seconds: 60, idle_seconds: 60 };
/// A run of about a minute, to see that everything works.
const QUICK: Effort = Effort { rounds: 1, seconds: 1, lost_seconds: 5, idle_seconds: 5 };

impl Effort {
    /// The duration that the command line selects.
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
