//! The goals of the agent.

use crate::measure::{Measurement, attacks, sandbox};

/// One row of the summary.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Goal {
    /// The judged figures.
    pub(crate) what: &'static str,
    /// The figures that it is judged by.
    pub(crate) parts: &'static [Part],
}

/// One figure, and its goal.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Part {
    /// Distinguishes it from other parts of the row; empty where there are none.
    pub(crate) label: &'static str,
    /// The measurement that the figure belongs to.
    pub(crate) measurement: Measurement,
    /// The figure's name.
    pub(crate) figure: &'static str,
    /// The combination of the rounds into one value.
    pub(crate) value: Value,
    /// The least that is accepted; `None` where only the aim counts.
    pub(crate) goal: Option<Bound>,
    /// The goal.
    pub(crate) aim: Bound,
}

/// A combination of rounds into one value.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Value {
    /// The median.
    Median,
    /// The largest value: for an event that must not happen in any round.
    Most,
    /// The median ratio to another figure of the same round.
    Beside(&'static str),
}

/// The goal of a value.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Bound {
    /// This or less.
    AtMost(f64),
    /// This or more.
    AtLeast(f64),
}

use Bound::{AtLeast, AtMost};
use Value::{Beside, Median, Most};

/// The agent's default, in MiB.
pub(crate) const HISTORY_MIB: f64 = 24.0;
/// The largest growth that counts as none, because of noise.
const FLAT: f64 = 1.1;

/// Everything that the agent is meant to reach.
pub(crate) const GOALS: [Goal; 18] = [
    Goal {
        what: "CPU of the agent per exit, full speed, one watcher of every field, unix socket, \
               relative to the plain listener",
        parts: &[Part {
            label: "",
            measurement: Measurement::Exits,
            figure: "CPU an exit, taskstatsd",
            value: Beside("CPU an exit, plain"),
            goal: Some(AtMost(0.5)),
            aim: AtMost(0.33),
        }],
    },
    Goal {
        what: "the same relative to the paced floor",
        parts: &[Part {
            label: "",
            measurement: Measurement::Exits,
            figure: "CPU an exit, taskstatsd",
            value: Beside("CPU an exit, paced"),
            goal: Some(AtMost(1.8)),
            aim: AtMost(1.3),
        }],
    },
    Goal {
        what: "workload speed under the whole chain relative to under the paced floor",
        parts: &[Part {
            label: "",
            measurement: Measurement::Exits,
            figure: "workload, taskstatsd",
            value: Beside("workload, paced"),
            goal: Some(AtLeast(0.85)),
            aim: AtLeast(0.95),
        }],
    },
    Goal {
        what: "exits lost, default settings",
        parts: &[
            Part {
                label: "full speed",
                measurement: Measurement::Lost,
                figure: "lost at full speed",
                value: Most,
                goal: Some(AtMost(0.0)),
                aim: AtMost(0.0),
            },
            Part {
                label: "300 ms stall",
                measurement: Measurement::Stall,
                figure: "lost in a stall of 300 ms at full speed, taskstatsd",
                value: Most,
                goal: Some(AtMost(0.0)),
                aim: AtMost(0.0),
            },
            Part {
                label: "1 s stall",
                measurement: Measurement::Stall,
                figure: "lost in a stall of 1000 ms at full speed, taskstatsd",
                value: Most,
                goal: None,
                aim: AtMost(0.0),
            },
        ],
    },
    Goal {
        what: "exit → client at 1,000 exits/s",
        parts: &[
            Part {
                label: "median µs",
                measurement: Measurement::Latency,
                figure: "median at 1000 exits/s, taskstatsd",
                value: Median,
                goal: Some(AtMost(300.0)),
                aim: AtMost(120.0),
            },
            Part {
                label: "p99 µs",
                measurement: Measurement::Latency,
                figure: "p99 at 1000 exits/s, taskstatsd",
                value: Median,
                goal: Some(AtMost(1000.0)),
                aim: AtMost(300.0),
            },
        ],
    },
    Goal {
        what: "exit → client at full speed",
        parts: &[Part {
            label: "p99 µs",
            measurement: Measurement::Latency,
            figure: "p99 at full speed, taskstatsd",
            value: Median,
            goal: Some(AtMost(15_000.0)),
            aim: AtMost(3000.0),
        }],
    },
    Goal {
        what: "100 watchers: added CPU per exit and watcher relative to the cost of the first",
        parts: &[Part {
            label: "",
            measurement: Measurement::Watchers,
            figure: "CPU an exit of each further of 100 watchers",
            value: Beside("CPU an exit of the first watcher"),
            goal: Some(AtMost(0.08)),
            aim: AtMost(0.03),
        }],
    },
    Goal {
        what: "GetPid relative to a health check",
        parts: &[
            Part {
                label: "lone caller's median",
                measurement: Measurement::Query,
                figure: "median of a lone caller, GetPid",
                value: Beside("median of a lone caller, health check"),
                goal: Some(AtMost(1.4)),
                aim: AtMost(1.2),
            },
            Part {
                label: "32 callers' throughput",
                measurement: Measurement::Query,
                figure: "32 callers, GetPid",
                value: Beside("32 callers, health check"),
                goal: Some(AtLeast(0.8)),
                aim: AtLeast(0.95),
            },
        ],
    },
    Goal {
        what: "GetPid by the broker of the sandbox relative to without it",
        parts: &[
            Part {
                label: "lone caller's median",
                measurement: Measurement::Sandbox,
                figure: sandbox::CONFINED,
                value: Beside(sandbox::FREE),
                goal: Some(AtMost(1.25)),
                aim: AtMost(1.2),
            },
            Part {
                label: "32 callers",
                measurement: Measurement::Sandbox,
                figure: sandbox::CONFINED_TOGETHER,
                value: Beside(sandbox::FREE_TOGETHER),
                goal: Some(AtLeast(0.85)),
                aim: AtLeast(0.95),
            },
        ],
    },
    Goal {
        what: "replay of a full history, million events/s",
        parts: &[
            Part {
                label: "decoded by the client library",
                measurement: Measurement::History,
                figure: "replay, decoded by the client library",
                value: Median,
                goal: Some(AtLeast(1.0)),
                aim: AtLeast(2.0),
            },
            Part {
                label: "only counted",
                measurement: Measurement::History,
                figure: "replay, only counted",
                value: Median,
                goal: Some(AtLeast(8.0)),
                aim: AtLeast(20.0),
            },
        ],
    },
    Goal {
        what: "resident memory with a watcher, MiB",
        parts: &[
            Part {
                label: "idle",
                measurement: Measurement::History,
                figure: "resident memory, idle",
                value: Median,
                goal: Some(AtMost(12.0)),
                aim: AtMost(6.0),
            },
            Part {
                label: "history full",
                measurement: Measurement::History,
                figure: "resident memory, history full",
                value: Median,
                goal: Some(AtMost(HISTORY_MIB * 1.15 + 12.0)),
                aim: AtMost(HISTORY_MIB * 1.05 + 6.0),
            },
        ],
    },
    Goal {
        what: "wake-ups of the whole process in 60 s of silence, one watcher, heartbeats aside",
        parts: &[Part {
            label: "",
            measurement: Measurement::Idle,
            figure: "wake-ups in 60 s of silence",
            value: Median,
            goal: Some(AtMost(10.0)),
            aim: AtMost(0.0),
        }],
    },
    Goal {
        what: "cost of an exit relative to a machine of one CPU",
        parts: &[
            Part {
                label: "16 CPUs",
                measurement: Measurement::Growth,
                figure: "CPU an exit, 16 CPUs",
                value: Beside("CPU an exit, 1 CPUs"),
                goal: Some(AtMost(1.5)),
                aim: AtMost(FLAT),
            },
            Part {
                label: "256 CPUs",
                measurement: Measurement::Growth,
                figure: "CPU an exit, 256 CPUs",
                value: Beside("CPU an exit, 1 CPUs"),
                goal: Some(AtMost(1.5)),
                aim: AtMost(FLAT),
            },
        ],
    },
    Goal {
        what: "CPU of the agent per exit, one watcher by mutual TLS, relative to the unix socket",
        parts: &[Part {
            label: "",
            measurement: Measurement::Tls,
            figure: "CPU an exit, mutual TLS",
            value: Beside("CPU an exit, unix socket"),
            goal: Some(AtMost(1.6)),
            aim: AtMost(1.3),
        }],
    },
    Goal {
        what: "mutual TLS handshakes a second",
        parts: &[Part {
            label: "",
            measurement: Measurement::Tls,
            figure: "mutual handshakes",
            value: Median,
            goal: None,
            aim: AtLeast(500.0),
        }],
    },
    Goal {
        what: "attribution by the kernel, relative to --attribution off",
        parts: &[
            Part {
                label: "CPU of the agent per exit",
                measurement: Measurement::Options,
                figure: "CPU an exit, default options",
                value: Beside("CPU an exit, --attribution off"),
                goal: Some(AtMost(1.1)),
                aim: AtMost(1.05),
            },
            Part {
                label: "workload speed",
                measurement: Measurement::Options,
                figure: "workload, default options",
                value: Beside("workload, --attribution off"),
                goal: Some(AtLeast(0.98)),
                aim: AtLeast(1.0),
            },
        ],
    },
    Goal {
        what: "CPU of the agent per exit, one watcher by --redact comm,io, relative to no redaction",
        parts: &[Part {
            label: "",
            measurement: Measurement::Options,
            figure: "CPU an exit, --redact comm,io",
            value: Beside("CPU an exit, default options"),
            goal: Some(AtMost(1.3)),
            aim: AtMost(FLAT),
        }],
    },
    Goal {
        what: "median of another caller's health check during 128 redacted replays, relative to before",
        parts: &[Part {
            label: "",
            measurement: Measurement::Attacks,
            figure: attacks::REPLAYED,
            value: Beside(attacks::BEFORE_REPLAYS),
            goal: Some(AtMost(5.0)),
            aim: AtMost(2.0),
        }],
    },
];

impl Bound {
    /// Returns true if a value reaches the goal.
    pub(crate) fn holds(self, value: f64) -> bool {
        match self {
            AtMost(bound) => value <= bound,
            AtLeast(bound) => value >= bound,
        }
    }
}
