//! The arguments of `taskstatsctl`.

use std::time::Duration;

use clap::{Parser, Subcommand, ValueEnum};

use super::place::parse_place;
use super::time::parse_duration;
use super::tls::TlsFlags;
use crate::{Cursor, OnLag, Scope, Target};

const EXIT_CODES: &str = "\
Exit codes:
  0  it worked; also when the reader of the output went away, and when watch was interrupted
  1  the call failed: no such task, the agent refused, could not be reached or went away;
     or health: something is not serving
  2  the arguments are wrong, as this program or the agent finds
  3  the agent does not know the caller, or does not let it do this
  4  the agent has no room for the call now, or the watch was too slow (--on-lag close)";

/// Ask taskstatsd for the kernel's accounts of tasks, live or as they exit.
#[derive(Debug, Parser)]
#[command(name = "taskstatsctl", version, after_help = EXIT_CODES)]
pub struct Args {
    /// The agent.
    #[arg(
        long,
        help = "The agent: unix:///PATH, an absolute path, tls://HOST[:PORT], or tcp://HOST[:PORT] (port 8275; plaintext)",
        global = true,
        env = "TASKSTATS_TARGET",
        default_value = "unix:///run/taskstatsd/taskstatsd.sock"
    )]
    pub(super) target: Target,

    #[command(flatten)]
    pub(super) tls: TlsFlags,

    /// How long a call may take, with its unit
    #[arg(long, global = true, value_parser = parse_duration, default_value = "5s")]
    pub(super) timeout: Duration,

    /// How to print: for reading, for grep, as pretty JSON, or as one JSON document a line
    #[arg(long, short, global = true, value_enum, default_value_t = Format::Table)]
    pub(super) output: Format,

    /// When to colour.
    #[arg(
        long,
        global = true,
        value_enum,
        default_value_t = ColorChoice::Auto,
        help = "When to colour: auto means on a terminal, unless NO_COLOR is set"
    )]
    pub(super) color: ColorChoice,

    #[command(subcommand)]
    pub(super) command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Print the accounts of live tasks or processes
    #[command(subcommand)]
    Get(Get),
    /// Print the account of every task as it exits
    Watch(Watch),
    /// Print what the node and the agent are and can do
    Node,
    /// Print whether the agent runs and whether all that it offers works
    Health {
        /// One service alone; empty for the agent as a whole, which serves as long as it runs
        /// [default: first the agent, then taskstats.v1.TaskstatsService, which serves where exits
        /// can be watched]
        #[arg(long, value_name = "NAME")]
        service: Option<String>,
    },
    /// Print a completion script for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Print the manual page, in roff
    Man,
}

/// Which accounts to print.
#[derive(Debug, Subcommand)]
pub(super) enum Get {
    /// By task (thread) id
    Pid {
        /// Task ids
        #[arg(required = true, value_name = "PID")]
        ids: Vec<u32>,
    },
    /// By process (thread group) id
    Tgid {
        /// Process ids
        #[arg(required = true, value_name = "TGID")]
        ids: Vec<u32>,
        /// Print each live thread as well
        #[arg(long)]
        threads: bool,
    },
}

/// Which exits to print, and how long.
#[derive(Debug, clap::Args)]
pub(super) struct Watch {
    /// CPUs to watch, in the kernel's list syntax, such as 0-3,8 [default: all]
    #[arg(long, value_name = "LIST")]
    pub(super) cpus: Option<String>,

    /// Which exits: all, those that end a process, or those that do not
    #[arg(long, value_enum, default_value_t = ScopeChoice::All)]
    pub(super) scope: ScopeChoice,

    /// Begin with this many of the newest exits that the agent remembers
    #[arg(long, value_name = "N", conflicts_with = "after",
          value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) last: Option<u32>,

    /// Continue after this place, which an earlier watch told at its end
    #[arg(long, value_name = "INSTANCE:SEQUENCE", value_parser = parse_place)]
    pub(super) after: Option<Cursor>,

    /// What the agent is to do when this watch is too slow: tell the loss, or end it
    #[arg(long, value_enum, default_value_t = OnLagChoice::Skip)]
    pub(super) on_lag: OnLagChoice,

    /// Once connected, connect again whenever the agent goes away, and continue where it ended
    #[arg(long)]
    pub(super) reconnect: bool,

    /// Stop after this many exits
    #[arg(short = 'n', long = "number", value_name = "N",
          value_parser = clap::value_parser!(u64).range(1..))]
    pub(super) number: Option<u64>,

    /// How long the agent may hold an exit back to send more at once, with its unit; at most 10s
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub(super) max_batch_delay: Option<Duration>,
}

/// How to print.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(super) enum Format {
    /// Aligned, with units
    Table,
    /// One line of key=value each
    Compact,
    /// The messages of the API in proto JSON, indented
    Json,
    /// The same, one a line
    Jsonl,
}

/// When to colour.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(super) enum ColorChoice {
    /// On a terminal
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

/// Which exits to watch.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(super) enum ScopeChoice {
    /// Every task
    All,
    /// Exits that end a process
    Processes,
    /// Exits that do not
    Threads,
}

/// What becomes of a watch that is too slow.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(super) enum OnLagChoice {
    /// The loss is told
    Skip,
    /// The watch ends
    Close,
}

impl From<OnLagChoice> for OnLag {
    fn from(choice: OnLagChoice) -> Self {
        match choice {
            OnLagChoice::Skip => Self::Skip,
            OnLagChoice::Close => Self::Close,
        }
    }
}

impl From<ScopeChoice> for Scope {
    fn from(choice: ScopeChoice) -> Self {
        match choice {
            ScopeChoice::All => Self::AllTasks,
            ScopeChoice::Processes => Self::Processes,
            ScopeChoice::Threads => Self::Threads,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_arguments_do_not_contradict_each_other() {
        Args::command().debug_assert();
    }

    #[test]
    fn the_defaults_are_those_of_the_agent() {
        let args = Args::try_parse_from(["taskstatsctl", "node", "--target", "/a"]).unwrap();
        assert_eq!(args.target.to_string(), "unix:///a");
        assert_eq!(args.timeout, crate::DEFAULT_DEADLINE);
        assert_eq!(args.output, Format::Table);
    }
}
