//! The arguments of `taskstatsctl`.

use std::time::Duration;

use clap::{Parser, Subcommand, ValueEnum};

use super::connection::Connection;
use super::cursor::parse_cursor;
use super::render::output::Format;
use super::render::palette::ColorChoice;
use super::render::time::parse_duration;
use crate::{Cursor, OnLag, Scope};

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
    #[command(flatten)]
    pub(crate) connection: Connection,

    /// How to print: for reading, for grep, as pretty JSON, or as one JSON document a line
    #[arg(long, short, global = true, value_enum, default_value_t = Format::Table)]
    pub(crate) output: Format,

    /// When to colour.
    #[arg(
        long,
        global = true,
        value_enum,
        default_value_t = ColorChoice::Auto,
        help = "When to colour: auto means on a terminal, unless NO_COLOR is set"
    )]
    pub(crate) color: ColorChoice,

    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
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
pub(crate) enum Get {
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
pub(crate) struct Watch {
    /// CPUs to watch, in the kernel's list syntax, such as 0-3,8 [default: all]
    #[arg(long, value_name = "LIST")]
    pub(crate) cpus: Option<String>,

    /// Which exits: all, those that end a process, or those that do not
    #[arg(long, value_enum, default_value_t = ScopeChoice::All)]
    pub(crate) scope: ScopeChoice,

    /// Begin with this many of the newest exits that the agent remembers
    #[arg(long, value_name = "N", conflicts_with = "after",
          value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) last: Option<u32>,

    /// Continue after this place, which an earlier watch told at its end
    #[arg(long, value_name = "INSTANCE:SEQUENCE", value_parser = parse_cursor)]
    pub(crate) after: Option<Cursor>,

    /// What the agent is to do when this watch is too slow: tell the loss, or end it
    #[arg(long, value_enum, default_value_t = OnLagChoice::Skip)]
    pub(crate) on_lag: OnLagChoice,

    /// Once connected, connect again whenever the agent goes away, and continue where it ended
    #[arg(long)]
    pub(crate) reconnect: bool,

    /// Stop after this many exits
    #[arg(short = 'n', long = "number", value_name = "N",
          value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) number: Option<u64>,

    /// How long the agent may hold an exit back to send more at once, with its unit; at most 10s
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub(crate) max_batch_delay: Option<Duration>,
}

/// Which exits to watch.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum ScopeChoice {
    /// Every task
    All,
    /// Exits that end a process
    Processes,
    /// Exits that do not
    Threads,
}

/// What becomes of a watch that is too slow.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum OnLagChoice {
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
        assert_eq!(args.connection.target.to_string(), "unix:///a");
        assert_eq!(args.connection.timeout, crate::DEFAULT_DEADLINE);
        assert_eq!(args.output, Format::Table);
    }
}
