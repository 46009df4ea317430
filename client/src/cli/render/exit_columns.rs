//! The columns that a table of exits can have.

use clap::ValueEnum;
use clap::builder::PossibleValue;

use super::columns::{ABSENT, Align, Cell, Column};
use super::exited::{Ended, Exited};
use super::fields::{LongestDelay, exit_status, longest_delay};
use super::palette::Tone;
use super::style::Style;
use super::text::{escaped, truncate};
use super::units;
use crate::TaskStats;
use crate::proto::ExitStatus;

/// The kernel cuts the names of user tasks to 15 bytes (`TASK_COMM_LEN`); those of its own threads
/// can be longer.
pub(crate) const COMM_WIDTH: usize = 15;

/// Stands for the unknown name of a process, before the name of its last thread.
const UNKNOWN_PROCESS: &str = "?/";

/// The columns of a table where the user chose none.
pub(crate) const DEFAULT: [ExitColumn; 13] = [
    ExitColumn::Time,
    ExitColumn::Cpu,
    ExitColumn::Pid,
    ExitColumn::Ppid,
    ExitColumn::Comm,
    ExitColumn::Of,
    ExitColumn::End,
    ExitColumn::Elapsed,
    ExitColumn::CpuTime,
    ExitColumn::PeakRss,
    ExitColumn::Io,
    ExitColumn::TopWait,
    ExitColumn::Workload,
];

/// The default columns that a narrow terminal lacks, the first to go first.
pub(crate) const DROP_ORDER: [ExitColumn; 12] = [
    ExitColumn::Ppid,
    ExitColumn::Cpu,
    ExitColumn::PeakRss,
    ExitColumn::Io,
    ExitColumn::Of,
    ExitColumn::Elapsed,
    ExitColumn::Workload,
    ExitColumn::Time,
    ExitColumn::TopWait,
    ExitColumn::CpuTime,
    ExitColumn::End,
    ExitColumn::Pid,
];

/// One column of a table of exits.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum ExitColumn {
    /// Time of day at which the agent received the exit
    Time,
    /// Number of the exit in the agent's run
    Sequence,
    /// CPU on which the task exited
    Cpu,
    /// Id of the thread, or of the process that ended
    Pid,
    /// Id of the thread's process
    Tgid,
    /// Process id of the parent
    Ppid,
    /// Real user id
    Uid,
    /// Real group id
    Gid,
    /// Command name; `?/NAME` is the last thread's, where that of its process is not known
    Comm,
    /// What ended: a process or a thread
    Of,
    /// Exit code or signal
    End,
    /// Time from the begin to the end
    Elapsed,
    /// User and system time
    CpuTime,
    /// Highest resident memory
    PeakRss,
    /// Highest virtual memory
    PeakVm,
    /// Bytes that storage was made to read and write
    Io,
    /// Bytes that storage was made to read
    Read,
    /// Bytes that storage was made to write
    Written,
    /// Page faults without storage I/O
    MinorFaults,
    /// Page faults with storage I/O
    MajorFaults,
    /// Context switches because the task waited
    Voluntary,
    /// Context switches because the task was pre-empted
    Involuntary,
    /// The longest delay: what for, and how long in all
    TopWait,
    /// Container, pod or unit, else the cgroup; `?` follows one that is inferred
    Workload,
}

/// Columns that the user chose, in order.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct ColumnList(pub(crate) Vec<ExitColumn>);

/// Parses a list of columns, separated by commas.
pub(crate) fn parse_columns(text: &str) -> Result<ColumnList, String> {
    let names = text.split(',').map(str::trim).filter(|name| !name.is_empty());
    let columns: Vec<ExitColumn> = names.map(parse_column).collect::<Result<_, _>>()?;
    if columns.is_empty() {
        return Err(format!("no column is named; the columns are {}", names_of_all()));
    }
    Ok(ColumnList(columns))
}

fn parse_column(name: &str) -> Result<ExitColumn, String> {
    ExitColumn::from_str(name, true)
        .map_err(|_| format!("unknown column {name:?}; the columns are {}", names_of_all()))
}

fn names_of_all() -> String {
    let all = ExitColumn::value_variants().iter();
    let names: Vec<_> = all.filter_map(ValueEnum::to_possible_value).collect();
    let names: Vec<_> = names.iter().map(PossibleValue::get_name).collect();
    names.join(", ")
}

impl ExitColumn {
    /// Returns the title, width and side of the column.
    pub(crate) fn layout(self) -> Column {
        use Align::{Left, Right};
        let (title, width, align) = match self {
            Self::Time => ("TIME", 12, Left),
            Self::Sequence => ("SEQUENCE", 10, Right),
            Self::Cpu => ("CPU", 3, Right),
            Self::Pid => ("PID", 7, Right),
            Self::Tgid => ("TGID", 7, Right),
            Self::Ppid => ("PPID", 7, Right),
            Self::Uid => ("UID", 5, Right),
            Self::Gid => ("GID", 5, Right),
            Self::Comm => ("COMM", COMM_WIDTH, Left),
            Self::Of => ("OF", 7, Left),
            Self::End => ("END", 14, Left),
            Self::Elapsed => ("ELAPSED", 8, Right),
            Self::CpuTime => ("CPU TIME", 8, Right),
            Self::PeakRss => ("PEAK RSS", 8, Right),
            Self::PeakVm => ("PEAK VM", 8, Right),
            Self::Io => ("I/O", 8, Right),
            Self::Read => ("READ", 8, Right),
            Self::Written => ("WRITTEN", 8, Right),
            Self::MinorFaults => ("MINFLT", 8, Right),
            Self::MajorFaults => ("MAJFLT", 6, Right),
            Self::Voluntary => ("NVCSW", 8, Right),
            Self::Involuntary => ("NIVCSW", 8, Right),
            // Wide enough for `block I/O 3.1 ms`.
            Self::TopWait => ("TOP WAIT", 17, Left),
            Self::Workload => ("WORKLOAD", 30, Left),
        };
        Column { title, width, align }
    }

    /// Returns the cell of an exit in this column.
    pub(crate) fn cell(self, exited: &Exited<'_>, style: &Style) -> Cell {
        let event = exited.event;
        let identity = exited.identity();
        match self {
            Self::Time => Cell::optional(
                event.received_at.as_ref().map(|received| style.time.time_of_day(received)),
            ),
            Self::Sequence => Cell::plain(event.sequence.to_string()),
            Self::Cpu => Cell::plain(event.cpu.to_string()),
            Self::Pid => Cell::optional(exited.pid()),
            Self::Tgid => Cell::optional(exited.tgid()),
            Self::Ppid => Cell::optional(identity.and_then(|identity| identity.ppid)),
            Self::Uid => Cell::optional(identity.and_then(|identity| identity.uid)),
            Self::Gid => Cell::optional(identity.and_then(|identity| identity.gid)),
            Self::Comm => Cell::plain(comm(exited)),
            Self::Of => Cell::plain(of(exited.ended())),
            Self::End => end(exited.status()),
            _ => Cell::optional(self.usage(exited)),
        }
    }

    /// Returns the owner of the exited task or process, or what it used, with its unit.
    fn usage(self, exited: &Exited<'_>) -> Option<String> {
        match self {
            Self::Elapsed => exited.elapsed_us().map(units::microseconds),
            Self::CpuTime => exited.cpu_us().map(units::microseconds),
            Self::PeakRss => exited.memory().map(|memory| units::kibibytes(memory.peak_rss_kib)),
            Self::PeakVm => exited.memory().map(|memory| units::kibibytes(memory.peak_vm_kib)),
            Self::Io => exited.storage_bytes().map(units::bytes),
            Self::Read => exited.io().map(|io| units::bytes(io.read_bytes)),
            Self::Written => exited.io().map(|io| units::bytes(io.write_bytes)),
            Self::MinorFaults => exited.faults().map(|faults| faults.minor.to_string()),
            Self::MajorFaults => exited.faults().map(|faults| faults.major.to_string()),
            Self::Voluntary => exited.context_switches().map(|it| it.voluntary.to_string()),
            Self::Involuntary => exited.context_switches().map(|it| it.involuntary.to_string()),
            Self::TopWait => exited.record().map(top_wait),
            Self::Workload => exited.owner().map(|owner| escaped(&owner).into_owned()),
            _ => None,
        }
    }
}

/// Returns the longest delay: `block I/O 3.1 ms`.
pub(crate) fn top_wait(stats: &TaskStats) -> String {
    match longest_delay(stats) {
        LongestDelay::Off => "off".to_owned(),
        LongestDelay::None => ABSENT.to_owned(),
        LongestDelay::Of(class, total_ns) => {
            format!("{} {}", class.label(), units::nanoseconds(total_ns))
        }
    }
}

/// Returns a command name, cut to its column.
pub(crate) fn short_comm(name: &str) -> String {
    truncate(&escaped(name), COMM_WIDTH).into_owned()
}

fn comm(exited: &Exited<'_>) -> String {
    match (exited.comm(), exited.last_thread_comm()) {
        (Some(name), _) => short_comm(name),
        (None, Some(thread)) => short_comm(&format!("{UNKNOWN_PROCESS}{thread}")),
        (None, None) => ABSENT.to_owned(),
    }
}

fn of(ended: Ended) -> &'static str {
    match ended {
        Ended::Process => "process",
        Ended::Thread => "thread",
        Ended::Unknown => ABSENT,
    }
}

fn end(status: Option<&ExitStatus>) -> Cell {
    let tone = match status {
        Some(status) if status.signal.is_some() => Tone::Alarming,
        Some(status) if status.code != Some(0) => Tone::Notable,
        _ => Tone::Plain,
    };
    Cell { tone, ..Cell::optional(status.map(exit_status)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_columns_tolerates_blanks_and_separators() {
        let columns = parse_columns("pid, peak-rss,,TOP-WAIT,").unwrap();
        let expected = [ExitColumn::Pid, ExitColumn::PeakRss, ExitColumn::TopWait];
        assert_eq!(columns, ColumnList(expected.to_vec()));
    }

    #[test]
    fn an_unknown_column_is_named_beside_the_known_ones() {
        let error = parse_columns("pid,x").unwrap_err();
        assert!(error.starts_with("unknown column \"x\"; the columns are time, "), "{error}");
        assert!(error.ends_with("workload"), "{error}");
        assert!(parse_columns(" , ").is_err());
    }
}
