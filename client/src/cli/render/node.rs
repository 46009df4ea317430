//! The state of a node and its agent.

use super::certificates;
use super::section::Section;
use super::style::Style;
use super::text::{escaped, quoted};
use super::time::rfc3339;
use super::units;
use crate::proto::{Counters, ExitsState, History, Limit, Sandbox};
use crate::{DelayAccounting, GetNodeResponse, LostStage};

/// More than this are not told by name: it is nearly all of them.
const MANY_CAPABILITIES: usize = 4;

pub(crate) fn table(node: &GetNodeResponse, style: &Style) -> String {
    let mut sections = vec![machine(node, style), agent(node, style)];
    sections.extend(node.exits.as_ref().map(exits));
    sections.extend(node.counters.as_ref().map(counters));
    sections.extend(node.history.as_ref().map(history));
    sections.extend(certificates::sections(node, style));
    sections.extend(node.sandbox.as_ref().map(sandbox));
    sections.iter().map(|section| section.text(style.palette)).collect()
}

pub(crate) fn compact(node: &GetNodeResponse) -> String {
    let counters = node.counters.clone().unwrap_or_default();
    let lost: u64 = counters.lost.iter().map(|lost| lost.count).sum();
    let refused: u64 = counters.refused.iter().map(|refused| refused.count).sum();
    let since = node.delay_accounting_since.as_ref().map_or_else(String::new, rfc3339);
    let started = node.started_at.as_ref().map_or_else(String::new, rfc3339);
    let version = taskstats_version(node);
    let simulated =
        simulated(node).map_or_else(String::new, |spec| format!(" simulated={}", quoted(spec)));
    format!(
        "node name={} boot_id={} kernel={} taskstats={} possible_cpus={} online_cpus={} \
         delay_accounting={} delay_accounting_since={} agent={} instance_id={} started_at={} watchable={} received={} \
         delivered={} lost={lost} unexplained_gaps={} watchers={} refused={refused} denied={}{simulated}\n",
        quoted(&node.node_name),
        quoted(&node.boot_id),
        quoted(&node.kernel_release),
        version.map_or_else(|| quoted("").into_owned(), |version| version.to_string()),
        quoted(&node.possible_cpus),
        quoted(&node.online_cpus),
        accounting(node.delay_accounting()),
        quoted(&since),
        quoted(&node.agent_version),
        quoted(&node.instance_id),
        quoted(&started),
        node.exits.as_ref().is_some_and(|exits| exits.watchable),
        counters.received,
        counters.delivered,
        counters.unexplained_gaps,
        counters.watchers,
        counters.denied,
    )
}

fn machine(node: &GetNodeResponse, style: &Style) -> Section {
    let delays = match (node.delay_accounting(), &node.delay_accounting_since) {
        (DelayAccounting::Off, _) => {
            "off: sysctl kernel.task_delayacct=1 turns it on for new tasks".to_owned()
        }
        (DelayAccounting::On, Some(since)) => {
            format!("on, for tasks that began after {}", style.time.date(since))
        }
        (known, _) => accounting(known).to_owned(),
    };
    Section::new("Node")
        .row("name", escaped(&node.node_name))
        .row("boot id", escaped(&node.boot_id))
        .row("kernel", escaped(&node.kernel_release))
        .optional("simulated", simulated(node).map(escaped))
        .optional("taskstats version", taskstats_version(node))
        .row("possible CPUs", escaped(&node.possible_cpus))
        .row("online CPUs", escaped(&node.online_cpus))
        .row("delay accounting", delays)
}

/// The version that the kernel speaks; `None` when it could not be asked.
fn taskstats_version(node: &GetNodeResponse) -> Option<u32> {
    Some(node.taskstats_version).filter(|version| *version != 0)
}

/// What is simulated, if it is.
fn simulated(node: &GetNodeResponse) -> Option<&str> {
    Some(node.simulated_kernel.as_str()).filter(|spec| !spec.is_empty())
}

fn agent(node: &GetNodeResponse, style: &Style) -> Section {
    Section::new("Agent")
        .row("version", escaped(&node.agent_version))
        .row("instance id", escaped(&node.instance_id))
        .optional("started", node.started_at.as_ref().map(|moment| style.time.date(moment)))
}

fn exits(state: &ExitsState) -> Section {
    let section = Section::new("Exits");
    if state.watchable {
        return section.row("can be watched", "yes");
    }
    section
        .row("can be watched", "no")
        .row("because", escaped(&state.reason))
        .row("to change that", escaped(&state.fix))
}

fn counters(counters: &Counters) -> Section {
    let section = Section::new("Since it started")
        .row("received", counters.received)
        .row("delivered", counters.delivered);
    let section = counters.lost.iter().fold(section, |section, lost| {
        let key = match lost.stage() {
            LostStage::KernelSocket => "lost in the kernel",
            LostStage::History => "lost by watchers",
            LostStage::AgentRestart => "lost by restarts",
            LostStage::Unspecified => "lost elsewhere",
        };
        section.row(key, lost.count)
    });
    let section = counters
        .refused
        .iter()
        .fold(section, |section, refused| section.row(refusal(refused.limit()), refused.count));
    let denied = Some(counters.denied).filter(|count| *count > 0);
    let watched = Some(&counters.watched_cpus).filter(|cpus| !cpus.is_empty());
    section
        .optional("denied calls", denied)
        .row("unexplained gaps", counters.unexplained_gaps)
        .row("watchers now", counters.watchers)
        .optional("watched CPUs now", watched.map(|cpus| escaped(cpus)))
}

/// What a limit kept out.
fn refusal(limit: Limit) -> &'static str {
    match limit {
        Limit::Connections => "too many connected",
        Limit::Watchers => "too many watchers",
        Limit::Calls => "too many calls",
        Limit::CallRate => "too frequent calls",
        Limit::RequestSize => "too long requests",
        Limit::HeaderSize => "too long headers",
        Limit::CallTime => "too late calls",
        Limit::IdleTime => "idle connections",
        Limit::HandshakeTime => "late handshakes",
        Limit::Protocol => "misuse of HTTP/2",
        Limit::Streams => "all streams of a connection in use",
        Limit::Unspecified => "refused otherwise",
    }
}

fn history(history: &History) -> Section {
    let held =
        format!("{} of {}", units::bytes(history.bytes), units::bytes(history.capacity_bytes));
    let section = Section::new("History").row("held", held);
    if history.first_sequence == 0 {
        return section.row("exits", "none");
    }
    section.row("exits", format!("{} to {}", history.first_sequence, history.last_sequence))
}

fn sandbox(sandbox: &Sandbox) -> Section {
    let yes_no = |yes| if yes { "yes" } else { "no" };
    let capabilities = match sandbox.capabilities.len() {
        0 => "none".to_owned(),
        1..=MANY_CAPABILITIES => escaped(&sandbox.capabilities.join(", ")).into_owned(),
        count => format!("{count} of them"),
    };
    let landlock = match sandbox.landlock_version {
        0 => "no".to_owned(),
        version => format!("yes, version {version}"),
    };
    let section = Section::new("Rights")
        .row("user and group", format!("{}:{}", sandbox.uid, sandbox.gid))
        .row("capabilities", capabilities)
        .row("no new privileges", yes_no(sandbox.no_new_privs))
        .row("calls filtered", yes_no(sandbox.seccomp))
        .row("files restricted", landlock);
    sandbox.gaps.iter().fold(section, |section, gap| section.row("missing", escaped(gap)))
}

fn accounting(state: DelayAccounting) -> &'static str {
    match state {
        DelayAccounting::On => "on",
        DelayAccounting::Off => "off",
        DelayAccounting::Partial => "partial",
        DelayAccounting::Unknown | DelayAccounting::Unspecified => "unknown",
    }
}
