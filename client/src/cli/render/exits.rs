//! Exits and losses as lines of text.

use super::columns::ABSENT;
use super::exited::{Ended, Exited};
use super::fields::{LongestDelay, cpu_us, longest_delay, storage_bytes};
use super::owner::{certainty, owner};
use super::palette::Tone;
use super::signals;
use super::style::Style;
use super::text::quoted;
use super::time::rfc3339;
use crate::proto::{ExitStatus, Identity};
use crate::{Attribution, ExitEvent, Lost, LostStage, Owner, TaskStats, Workload};

/// A key, and its value as a program reads it: the unit of a number is part of the key.
type Pair = (&'static str, Option<String>);

/// Returns an exit as a line of `key=value`.
pub(crate) fn compact(event: &ExitEvent, workload: Option<&Workload>) -> String {
    let exited = Exited::new(event, workload);
    let identity = Identity {
        pid: exited.pid(),
        tgid: exited.tgid(),
        comm: exited.comm().map(str::to_owned),
        ..exited.identity().cloned().unwrap_or_default()
    };
    let of = match exited.ended() {
        Ended::Process => Some("process".to_owned()),
        Ended::Thread => Some("thread".to_owned()),
        Ended::Unknown => None,
    };
    let mut pairs = vec![
        ("time", event.received_at.as_ref().map(rfc3339)),
        ("cpu", number(Some(event.cpu))),
        ("of", of),
    ];
    pairs.extend(identity_pairs(&identity));
    pairs.extend(exited.status().map(status_pairs).unwrap_or_default());
    pairs.push(("elapsed_us", number(exited.elapsed_us())));
    pairs.push(("cpu_time_us", number(exited.cpu_us())));
    pairs.push(("peak_rss_kib", number(exited.memory().map(|memory| memory.peak_rss_kib))));
    pairs.push(("io_bytes", number(exited.storage_bytes())));
    pairs.extend(wait_pairs(exited.record().unwrap_or(&TaskStats::default())));
    pairs.extend(owner_pairs(exited.owner(), event.attribution()));
    let thread = exited.last_thread_comm().map(|name| quoted(name).into_owned());
    pairs.extend(thread.map(|name| ("last_thread_comm", Some(name))));
    join("exit", &pairs)
}

/// Returns the record of a live task or process as a line of `key=value`.
pub(crate) fn compact_live(stats: &TaskStats, of: Option<&Owner>) -> String {
    let identity = stats.identity.clone().unwrap_or_default();
    let mut pairs = Vec::from(identity_pairs(&identity));
    let memory = stats.memory.as_ref();
    pairs.push(("elapsed_us", number(stats.elapsed_us)));
    pairs.push(("cpu_time_us", number(cpu_us(stats))));
    pairs.push(("peak_rss_kib", number(memory.map(|memory| memory.peak_rss_kib))));
    pairs.push(("io_bytes", number(storage_bytes(stats))));
    pairs.extend(wait_pairs(stats));
    if let Some(Owner { workload, attribution }) = of {
        let text = owner(Some(workload), None, *attribution);
        pairs.extend(owner_pairs(text, *attribution));
    }
    join(if identity.pid.is_some() { "task" } else { "process" }, &pairs)
}

/// Returns a loss as a line of `key=value`.
pub(crate) fn compact_lost(lost: &Lost) -> String {
    let stage = match lost.stage() {
        LostStage::Unspecified => "unspecified",
        LostStage::KernelSocket => "kernel_socket",
        LostStage::History => "history",
        LostStage::AgentRestart => "agent_restart",
    };
    let pairs = [
        ("stage", Some(stage.to_owned())),
        ("cpu", number(lost.cpu)),
        ("count", number(lost.count)),
        ("total", number(Some(lost.total))),
        ("first_at", lost.first_at.as_ref().map(rfc3339)),
        ("last_at", lost.last_at.as_ref().map(rfc3339)),
    ];
    join("lost", &pairs)
}

/// Returns a loss as a line that stands out of a table.
pub(crate) fn lost_row(lost: &Lost, style: &Style) -> String {
    let count = match lost.count {
        Some(1) => "1 exit".to_owned(),
        Some(count) => format!("{count} exits"),
        None => "an unknown number of exits".to_owned(),
    };
    let cpu = lost.cpu.map(|cpu| format!(" on CPU {cpu}")).unwrap_or_default();
    let text = format!("-- lost {count}{cpu}: {}{}", cause(lost), details(lost, style));
    style.palette.paint(Tone::Alarming, &text) + "\n"
}

/// Returns the times and the sum of a loss: ` (from 14:07:09.120 until 14:07:09.250; …)`.
fn details(lost: &Lost, style: &Style) -> String {
    let time = |word, time: &Option<prost_types::Timestamp>| {
        time.as_ref().map(|time| format!("{word} {}", style.time.time_of_day(time)))
    };
    let interval: Vec<_> = [time("from", &lost.first_at), time("until", &lost.last_at)]
        .into_iter()
        .flatten()
        .collect();
    let interval = Some(interval.join(" ")).filter(|interval| !interval.is_empty());
    let total = lost.count.map(|_| format!("{} in all at this stage", lost.total));
    let parts: Vec<_> = interval.into_iter().chain(total).collect();
    if parts.is_empty() { String::new() } else { format!(" ({})", parts.join("; ")) }
}

/// Returns why the exits were lost.
fn cause(lost: &Lost) -> &'static str {
    match (lost.stage(), lost.count) {
        (LostStage::Unspecified, _) => "the agent does not say why",
        (LostStage::KernelSocket, _) => "the agent's socket was full, and the kernel dropped them",
        (LostStage::History, Some(_)) => {
            "the agent's history evicted them before this watch read them"
        }
        (LostStage::History, None) => {
            "the agent did not listen at the time, or its history evicted them"
        }
        (LostStage::AgentRestart, _) => "the agent was restarted, and did not listen meanwhile",
    }
}

fn identity_pairs(identity: &Identity) -> [Pair; 4] {
    [
        ("pid", number(identity.pid)),
        ("tgid", number(identity.tgid)),
        ("ppid", number(identity.ppid)),
        ("comm", identity.comm.as_deref().map(|comm| quoted(comm).into_owned())),
    ]
}

fn status_pairs(exit: &ExitStatus) -> Vec<Pair> {
    let Some(signal) = exit.signal else { return vec![("code", number(exit.code))] };
    let core = if exit.core_dumped { "yes" } else { "no" };
    vec![("signal", Some(signals::name(signal).replace(' ', ""))), ("core", Some(core.to_owned()))]
}

fn wait_pairs(stats: &TaskStats) -> [Pair; 2] {
    let (class, total_ns) = match longest_delay(stats) {
        LongestDelay::Off => (Some("off"), None),
        LongestDelay::None => (None, None),
        LongestDelay::Of(class, total_ns) => (Some(class.key()), Some(total_ns)),
    };
    [("top_wait", class.map(str::to_owned)), ("top_wait_ns", number(total_ns))]
}

fn owner_pairs(owner: Option<String>, attribution: Attribution) -> [Pair; 2] {
    let workload = owner.map(|owner| quoted(&owner).into_owned());
    [("workload", workload), ("attribution", certainty(attribution).map(str::to_owned))]
}

fn number<T: ToString>(value: Option<T>) -> Option<String> {
    value.map(|value| value.to_string())
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
