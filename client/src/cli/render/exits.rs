//! Exits and losses as lines of text.

use super::columns::{ABSENT, Cell, Column, Side, header, line};
use super::fields::{LongestDelay, cpu_us, ending, longest_delay, storage_bytes};
use super::palette::Tone;
use super::style::Style;
use super::text::{escaped, quoted, truncate};
use super::time::rfc3339;
use super::{signals, units};
use crate::proto::{ExitStatus, Identity};
use crate::{ExitEvent, Lost, LostStage, TaskStats};

/// The kernel cuts names of user tasks to 15 bytes; those of its own threads can be longer.
const COMM_WIDTH: usize = 15;

const COLUMNS: [Column; 12] = [
    Column { title: "TIME", width: 12, side: Side::Left },
    Column { title: "CPU", width: 3, side: Side::Right },
    Column { title: "PID", width: 7, side: Side::Right },
    Column { title: "PPID", width: 7, side: Side::Right },
    Column { title: "COMM", width: COMM_WIDTH, side: Side::Left },
    Column { title: "OF", width: 7, side: Side::Left },
    Column { title: "END", width: 14, side: Side::Left },
    Column { title: "ELAPSED", width: 8, side: Side::Right },
    Column { title: "CPU TIME", width: 8, side: Side::Right },
    Column { title: "PEAK RSS", width: 8, side: Side::Right },
    Column { title: "I/O", width: 8, side: Side::Right },
    Column { title: "TOP WAIT", width: 0, side: Side::Left },
];

/// The titles of the columns of [`row`].
pub(crate) fn titles(style: &Style) -> String {
    header(&COLUMNS, style.palette)
}

/// An exit as a line of the table.
pub(crate) fn row(exit: &ExitEvent, style: &Style) -> String {
    let (task, identity) = task(exit);
    let time = exit.received_at.as_ref().map(|moment| style.time.time_of_day(moment));
    let cells = [
        Cell::optional(time),
        Cell::plain(exit.cpu.to_string()),
        Cell::optional(identity.pid),
        Cell::optional(identity.ppid),
        comm(&identity),
        Cell::plain(of(exit)),
        end(task.exit.as_ref()),
        Cell::optional(task.elapsed_us.map(units::microseconds)),
        Cell::optional(cpu_us(&task).map(units::microseconds)),
        Cell::optional(task.memory.as_ref().map(|memory| units::kibibytes(memory.peak_rss_kib))),
        Cell::optional(storage_bytes(&task).map(units::bytes)),
        Cell::plain(delay(&task)),
    ];
    line(&COLUMNS, &cells, style.palette)
}

/// An exit as a line of `key=value`.
pub(crate) fn compact(exit: &ExitEvent) -> String {
    let (task, identity) = task(exit);
    let mut pairs = vec![
        ("time", exit.received_at.as_ref().map(rfc3339)),
        ("cpu", Some(exit.cpu.to_string())),
        ("of", Some(of(exit).to_owned())),
    ];
    pairs.extend(identity_pairs(&identity));
    pairs.extend(task.exit.as_ref().map(end_pairs).unwrap_or_default());
    pairs.extend(usage_pairs(&task));
    join("exit", &pairs)
}

/// A live account as a line of `key=value`.
pub(crate) fn compact_live(stats: &TaskStats) -> String {
    let identity = stats.identity.clone().unwrap_or_default();
    let mut pairs = Vec::from(identity_pairs(&identity));
    pairs.extend(usage_pairs(stats));
    join(if identity.pid.is_some() { "task" } else { "process" }, &pairs)
}

/// A loss as a line that cannot be overlooked.
pub(crate) fn lost_row(lost: &Lost, style: &Style) -> String {
    let count = match lost.count {
        Some(1) => "1 exit".to_owned(),
        Some(count) => format!("{count} exits"),
        None => "an unknown number of exits".to_owned(),
    };
    let cpu = lost.cpu.map(|cpu| format!(" on CPU {cpu}")).unwrap_or_default();
    let text = format!("-- lost {count}{cpu}: {}{}", cause(lost.stage()), known(lost, style));
    style.palette.paint(Tone::Alarming, &text) + "\n"
}

/// What is known of a loss beside its count: ` (from 14:07:09.120 until 14:07:09.250; …)`.
fn known(lost: &Lost, style: &Style) -> String {
    let moment = |word, moment: &Option<prost_types::Timestamp>| {
        moment.as_ref().map(|moment| format!("{word} {}", style.time.time_of_day(moment)))
    };
    let span: Vec<_> = [moment("from", &lost.first_at), moment("until", &lost.last_at)]
        .into_iter()
        .flatten()
        .collect();
    let span = Some(span.join(" ")).filter(|span| !span.is_empty());
    let total = lost.count.map(|_| format!("{} in all at this stage", lost.total));
    let parts: Vec<_> = span.into_iter().chain(total).collect();
    if parts.is_empty() { String::new() } else { format!(" ({})", parts.join("; ")) }
}

/// A loss as a line of `key=value`.
pub(crate) fn compact_lost(lost: &Lost) -> String {
    let stage = match lost.stage() {
        LostStage::Unspecified => "unspecified",
        LostStage::KernelSocket => "kernel_socket",
        LostStage::History => "history",
        LostStage::AgentRestart => "agent_restart",
    };
    let pairs = [
        ("stage", Some(stage.to_owned())),
        ("cpu", lost.cpu.map(|cpu| cpu.to_string())),
        ("count", lost.count.map(|count| count.to_string())),
        ("total", Some(lost.total.to_string())),
        ("first_at", lost.first_at.as_ref().map(rfc3339)),
        ("last_at", lost.last_at.as_ref().map(rfc3339)),
    ];
    join("lost", &pairs)
}

/// The delay that matters most, for reading: `block I/O 3.1 ms`.
pub(crate) fn delay(stats: &TaskStats) -> String {
    match longest_delay(stats) {
        LongestDelay::Off => "off".to_owned(),
        LongestDelay::None => ABSENT.to_owned(),
        LongestDelay::Of(class, total) => {
            format!("{} {}", class.label(), units::nanoseconds(total))
        }
    }
}

/// The command name, cut to its column.
pub(crate) fn comm(identity: &Identity) -> Cell {
    let name = identity.comm.as_deref().map(escaped);
    Cell::optional(name.map(|name| truncate(&name, COMM_WIDTH).into_owned()))
}

type Pair = (&'static str, Option<String>);

/// The task of an exit and who it was. The contract promises both; an empty account shows dashes.
fn task(exit: &ExitEvent) -> (TaskStats, Identity) {
    let task = exit.task.clone().unwrap_or_default();
    let identity = task.identity.clone().unwrap_or_default();
    (task, identity)
}

/// What ended: a process, with its last task, or a thread alone.
fn of(exit: &ExitEvent) -> &'static str {
    match exit.last_in_process {
        Some(true) => "process",
        Some(false) => "thread",
        None => ABSENT,
    }
}

fn end(exit: Option<&ExitStatus>) -> Cell {
    let tone = match exit {
        Some(exit) if exit.signal.is_some() => Tone::Alarming,
        Some(exit) if exit.code != Some(0) => Tone::Notable,
        _ => Tone::Plain,
    };
    Cell { tone, ..Cell::optional(exit.map(ending)) }
}

fn identity_pairs(identity: &Identity) -> [Pair; 4] {
    [
        ("pid", identity.pid.map(|pid| pid.to_string())),
        ("tgid", identity.tgid.map(|tgid| tgid.to_string())),
        ("ppid", identity.ppid.map(|ppid| ppid.to_string())),
        ("comm", identity.comm.as_deref().map(|comm| quoted(comm).into_owned())),
    ]
}

fn end_pairs(exit: &ExitStatus) -> Vec<Pair> {
    let Some(signal) = exit.signal else {
        return vec![("code", exit.code.map(|code| code.to_string()))];
    };
    let core = if exit.core_dumped { "yes" } else { "no" };
    vec![("signal", Some(signals::name(signal).replace(' ', ""))), ("core", Some(core.to_owned()))]
}

fn usage_pairs(stats: &TaskStats) -> [Pair; 5] {
    let delay = match longest_delay(stats) {
        LongestDelay::Off => Some("off".to_owned()),
        LongestDelay::None => None,
        LongestDelay::Of(class, total) => {
            Some(format!("{}:{}", class.key(), units::nanoseconds(total)))
        }
    };
    let rss = stats.memory.as_ref().map(|memory| units::kibibytes(memory.peak_rss_kib));
    [
        ("elapsed", stats.elapsed_us.map(units::microseconds)),
        ("cpu_time", cpu_us(stats).map(units::microseconds)),
        ("peak_rss", rss),
        ("io", storage_bytes(stats).map(units::bytes)),
        ("top_wait", delay),
    ]
    .map(|(key, value)| (key, value.map(|value| value.replace(' ', ""))))
}

fn join(kind: &str, pairs: &[Pair]) -> String {
    let mut text = kind.to_owned();
    for (key, value) in pairs {
        text.push(' ');
        text.push_str(key);
        text.push('=');
        text.push_str(value.as_deref().unwrap_or(ABSENT));
    }
    text.push('\n');
    text
}

fn cause(stage: LostStage) -> &'static str {
    match stage {
        LostStage::Unspecified => "the agent does not say where",
        LostStage::KernelSocket => "the agent's socket was full, and the kernel dropped them",
        LostStage::History => "the agent had to forget them before this watch took them",
        LostStage::AgentRestart => "the agent was restarted, and nobody saw what ended meanwhile",
    }
}
