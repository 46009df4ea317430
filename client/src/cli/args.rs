//! The arguments of `taskstatsctl`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand, ValueEnum};

use super::connection::Connection;
use super::cursor::parse_cursor;
use super::render::exit_columns::{ColumnList, parse_columns};
use super::render::output::Format;
use super::render::palette::ColorChoice;
use super::render::time::parse_duration;
use super::since::{Since, parse_since};
use crate::{Cursor, OnLag, Scope};

const EXIT_CODES: &str = "\
Exit codes:
  0  success (including a closed output pipe or an interrupted watch)
  1  the call failed, or health found a service that does not serve
  2  invalid arguments
  3  the caller is not authenticated, or not permitted to do this
  4  the agent is overloaded, or the watch was too slow (--on-lag close)";

const WATCH_DETAILS: &str = "\
The exit of the last thread of a process is printed as the end of the process. If the process had
several threads, its row has the kernel's sums over all of them, and - for a number that the kernel
does not sum. Lost exits are reported where they would have been printed.

Columns: time, sequence, cpu, pid, tgid, ppid, uid, gid, comm, of, end, elapsed, cpu-time, peak-rss,
peak-vm, io, read, written, minor-faults, major-faults, voluntary, involuntary, top-wait, workload. Tables have
times in the zone of TZ or of /etc/localtime; the other forms of output have UTC.

With -o json and -o jsonl each document is one of:
  {\"started\": …}                 the stream has begun; the first document of each stream
  {\"event\": …, \"cursor\": …}      one exit, and the cursor after it
  {\"lost\": …}                    exits that were lost, with the cursor after them
  {\"workloads\": …}               owners of cgroups that the exits after it refer to
  {\"heartbeat\": …}               10 s without an exit, with the cursor
Their fields are those of WatchStarted, ExitEvent, Lost, Workloads and Heartbeat in taskstats.proto.

When the watch ends, standard error has the cursor to continue with --after.";

/// Prints the kernel's per-task statistics (taskstats), live or as tasks exit, from the agent taskstatsd.
#[derive(Debug, Parser)]
#[command(
    name = "taskstatsctl",
    version,
    about = "Print the kernel's per-task statistics, live or as tasks exit, from the agent taskstatsd",
    long_about = None,
    after_help = EXIT_CODES
)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) connection: Connection,

    /// Form of the output
    #[arg(
        long,
        short,
        global = true,
        value_enum,
        value_name = "FORMAT",
        help_heading = "Output",
        default_value_t = Format::Table
    )]
    pub(crate) output: Format,

    /// When to use colours.
    #[arg(
        long,
        help = "When to use colours; auto means on a terminal, unless NO_COLOR is set",
        global = true,
        value_enum,
        value_name = "WHEN",
        help_heading = "Output",
        default_value_t = ColorChoice::Auto
    )]
    pub(crate) color: ColorChoice,

    #[command(subcommand)]
    pub(crate) command: Command,
}

/// A subcommand.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Print the statistics of live tasks or processes
    #[command(subcommand)]
    Get(Get),
    /// Print the statistics of every task as it exits
    #[command(after_long_help = WATCH_DETAILS)]
    Watch(Watch),
    /// Print the state of the node and of the agent
    Node,
    /// Print whether the agent runs, and whether its service works
    Health {
        /// Name of a service to check; empty for the agent as a whole, which serves while it runs
        /// [default: the agent, and taskstats.v1.TaskstatsService, which serves while exits can be
        /// watched]
        #[arg(long, value_name = "NAME")]
        service: Option<String>,
    },
    /// Print the completion script of a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Write the man pages and the completion scripts to a directory
    ///
    /// The files are in the subdirectories that man and the shells search below /usr/local/share.
    Generate {
        /// The directory, which is created if it is missing
        directory: PathBuf,
    },
}

/// A kind of id to print statistics for.
#[derive(Debug, Subcommand)]
pub(crate) enum Get {
    /// Print tasks (threads) by their ids
    Pid {
        /// Task ids
        #[arg(required = true, value_name = "PID")]
        ids: Vec<u32>,
    },
    /// Print processes (thread groups) by their ids
    Tgid {
        /// Process ids
        #[arg(required = true, value_name = "TGID")]
        ids: Vec<u32>,
        /// Print each live thread, too
        #[arg(long)]
        threads: bool,
    },
}

/// The arguments of `watch`.
#[derive(Debug, clap::Args)]
pub(crate) struct Watch {
    /// CPUs to watch, in the kernel's list syntax, such as 0-3,8 [default: all]
    #[arg(long, value_name = "LIST", help_heading = "Exits")]
    pub(crate) cpus: Option<String>,

    /// Exits to print
    #[arg(long, value_enum, default_value_t = ScopeChoice::All, help_heading = "Exits")]
    pub(crate) scope: ScopeChoice,

    /// Begin with this many of the newest exits in the agent's history
    #[arg(long, value_name = "N", help_heading = "Exits",
          conflicts_with_all = ["after", "since"],
          value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) last: Option<u32>,

    /// Begin with the exits in the agent's history that it received since this time: a duration
    /// before now, such as 1m, or a time in RFC 3339
    #[arg(long, value_name = "TIME", help_heading = "Exits", conflicts_with = "after",
          value_parser = parse_since)]
    pub(crate) since: Option<Since>,

    /// Continue after this cursor, which an earlier watch printed when it ended
    #[arg(long, value_name = "INSTANCE:SEQUENCE", help_heading = "Exits",
          value_parser = parse_cursor)]
    pub(crate) after: Option<Cursor>,

    /// Stop after this many exits
    #[arg(short = 'n', long = "number", value_name = "N", help_heading = "Stream",
          value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) number: Option<u64>,

    /// Stop at the present: print the agent's history, from --last, --since or --after on, or else
    /// all of it
    #[arg(long, help_heading = "Stream", conflicts_with = "reconnect")]
    pub(crate) no_follow: bool,

    /// Connect again whenever the connection ends, and continue after the last exit
    #[arg(long, help_heading = "Stream")]
    pub(crate) reconnect: bool,

    /// Behaviour when this watch is slower than exits arrive
    #[arg(long, value_enum, value_name = "ACTION", default_value_t = OnLagChoice::Skip,
          help_heading = "Stream")]
    pub(crate) on_lag: OnLagChoice,

    /// How long the agent may hold an exit back to send several at once, with its unit; at most 10s
    #[arg(long, value_name = "DURATION", help_heading = "Stream", value_parser = parse_duration)]
    pub(crate) max_batch_delay: Option<Duration>,

    /// Columns of the table, separated by commas [default: those that fit the terminal]
    #[arg(long, value_name = "LIST", help_heading = "Output", value_parser = parse_columns)]
    pub(crate) columns: Option<ColumnList>,
}

/// Exits to watch.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum ScopeChoice {
    /// Those of all tasks
    All,
    /// Those that end a process
    Processes,
    /// Those that end a thread alone
    Threads,
}

/// Behaviour of a watch that is too slow.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum OnLagChoice {
    /// Report the loss and continue
    Skip,
    /// End the watch
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
    use crate::cli::render::exit_columns::ExitColumn;

    #[test]
    fn the_arguments_are_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn the_defaults_are_those_of_the_library() {
        let args = Args::try_parse_from(["taskstatsctl", "node", "--target", "/a"]).unwrap();
        assert_eq!(args.connection.target.to_string(), "unix:///a");
        assert_eq!(args.connection.timeout, crate::DEFAULT_DEADLINE);
        assert_eq!(args.output, Format::Table);
    }

    #[test]
    fn the_help_names_every_column() {
        let help = WATCH_DETAILS.replace(['\n', ',', '.'], " ");
        for column in ExitColumn::value_variants() {
            let name = column.to_possible_value().unwrap().get_name().to_owned();
            assert!(help.contains(&format!(" {name} ")), "{name}");
        }
    }

    /// A flag without a heading would be listed among the options of the command itself.
    #[test]
    fn every_flag_has_a_heading() {
        let mut command = Args::command();
        command.build();
        let watch = command.find_subcommand("watch").unwrap();
        for flag in
            watch.get_opts().filter(|flag| !["help", "version"].contains(&flag.get_id().as_str()))
        {
            assert!(flag.get_help_heading().is_some(), "{flag}");
        }
    }
}
