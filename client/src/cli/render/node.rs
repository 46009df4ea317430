//! The state of a node and its agent, as text.

use super::certificates;
use super::section::Section;
use super::style::Style;
use super::text::{escaped, quoted};
use super::time::rfc3339;
use super::units;
use crate::proto::{
    AttributionMethod, AttributionState, Counters, ExitsState, History, Limit, Sandbox,
};
use crate::{DelayAccounting, GetNodeResponse, LostStage};

/// More capabilities than this are shown as a number: they are nearly all.
const MANY_CAPABILITIES: usize = 4;

pub(crate) fn table(node: &GetNodeResponse, style: &Style) -> String {
    let mut sections = vec![machine(node, style), agent(node, style)];
    sections.extend(node.exits.as_ref().map(exits));
    sections.extend(node.counters.as_ref().map(counters));
    sections.extend(node.history.as_ref().map(history));
    sections.extend(node.attribution.as_ref().map(attribution));
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

/// Returns the kernel's version of taskstats; `None` when the agent could not query the kernel.
fn taskstats_version(node: &GetNodeResponse) -> Option<u32> {
    Some(node.taskstats_version).filter(|version| *version != 0)
}

/// Returns the description of the simulated kernel, if the agent has one.
fn simulated(node: &GetNodeResponse) -> Option<&str> {
    Some(node.simulated_kernel.as_str()).filter(|spec| !spec.is_empty())
}

fn agent(node: &GetNodeResponse, style: &Style) -> Section {
    Section::new("Agent")
        .row("version", escaped(&node.agent_version))
        .row("instance id", escaped(&node.instance_id))
        .optional("started", node.started_at.as_ref().map(|time| style.time.date(time)))
}

fn exits(state: &ExitsState) -> Section {
    let section = Section::new("Exits");
    if state.watchable {
        return section.row("watchable", "yes");
    }
    section
        .row("watchable", "no")
        .row("reason", escaped(&state.reason))
        .row("fix", escaped(&state.fix))
}

fn counters(counters: &Counters) -> Section {
    let section = Section::new("Since start-up")
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
        .row("watchers", counters.watchers)
        .optional("watched CPUs", watched.map(|cpus| escaped(cpus)))
}

/// Returns the key for the count of a limit.
fn refusal(limit: Limit) -> &'static str {
    match limit {
        Limit::Connections => "connections refused",
        Limit::Watchers => "watchers refused",
        Limit::Calls => "calls refused",
        Limit::CallRate => "calls over the rate",
        Limit::RequestSize => "oversized requests",
        Limit::HeaderSize => "oversized headers",
        Limit::CallTime => "deadlines exceeded",
        Limit::IdleTime => "idle connections",
        Limit::HandshakeTime => "handshake timeouts",
        Limit::Protocol => "HTTP/2 violations",
        Limit::Streams => "streams used up",
        Limit::Unspecified => "other refusals",
    }
}

fn history(history: &History) -> Section {
    let memory =
        format!("{} of {}", units::bytes(history.bytes), units::bytes(history.capacity_bytes));
    let section = Section::new("History").row("memory", memory);
    if history.first_sequence == 0 {
        return section.row("exits", "none");
    }
    section.row("exits", format!("{} to {}", history.first_sequence, history.last_sequence))
}

/// The method by which exits are attributed to cgroups, and the numbers of exits by certainty.
fn attribution(state: &AttributionState) -> Section {
    let method = match state.method() {
        AttributionMethod::Kernel => "kernel",
        AttributionMethod::Proc => "proc",
        AttributionMethod::Off => "off",
        AttributionMethod::Unspecified => "unknown",
    };
    let text = |value: &'_ String| (!value.is_empty()).then(|| escaped(value).into_owned());
    let some = |count: u64| Some(count).filter(|count| *count > 0);
    Section::new("Attribution of exits")
        .row("method", method)
        .optional("exact", some(state.exact))
        .optional("observed", some(state.observed))
        .optional("inferred", some(state.inferred))
        .optional("guessed", some(state.guess))
        .optional("unknown", some(state.unknown))
        .optional("reason", text(&state.reason))
        .optional("fix", text(&state.fix))
}

fn sandbox(sandbox: &Sandbox) -> Section {
    let yes_no = |value| if value { "yes" } else { "no" };
    let capabilities = match sandbox.capabilities.len() {
        0 => "none".to_owned(),
        1..=MANY_CAPABILITIES => escaped(&sandbox.capabilities.join(", ")).into_owned(),
        count => format!("{count} capabilities"),
    };
    let landlock = match sandbox.landlock_version {
        0 => "no".to_owned(),
        version => format!("yes, version {version}"),
    };
    let section = Section::new("Privileges")
        .row("user and group", format!("{}:{}", sandbox.uid, sandbox.gid))
        .row("capabilities", capabilities)
        .row("no new privileges", yes_no(sandbox.no_new_privs))
        .row("seccomp", yes_no(sandbox.seccomp))
        .row("landlock", landlock);
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
