//! The facts about the node and this run of the agent (`GetNode`).

use std::sync::{Arc, OnceLock};
use std::time::Duration;
use std::{fs, io};

use taskstats_proto::v1;

use super::certificates;
use super::convert::{accounting, timestamp};
use crate::advice::{Cause, HasCause};
use crate::clock::StepAwareTime;
use crate::exits::Exits;
use crate::readiness::Verdict;
use crate::sandbox::{self, Applied, MissingMeasure};
use crate::security::tls::Tls;
use crate::security::{Callers, Limit, RejectionCounters, Resource};
use crate::taskstats::{DelayAccounting, Kernel, KernelError, Since};

const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";
const HOST_NAME: &str = "/proc/sys/kernel/hostname";
const KERNEL_RELEASE: &str = "/proc/sys/kernel/osrelease";
/// Contains the time of the boot.
const STATISTICS: &str = "/proc/stat";
/// A new random UUID at each reading.
const RANDOM_UUID: &str = "/proc/sys/kernel/random/uuid";

/// The release of a simulated kernel.
const SIMULATED_RELEASE: &str = "simulated";

/// The facts that do not change while the agent runs.
#[derive(Debug)]
pub(crate) struct Node {
    /// Name of the node.
    pub(crate) name: String,
    /// The kernel's id of this boot.
    pub(crate) boot_id: String,
    /// The kernel's release.
    pub(crate) kernel_release: String,
    /// The id of this run of the agent.
    pub(crate) instance_id: String,
    /// The time at which the run began.
    started_at: StepAwareTime,
    /// The sandbox in force.
    pub(crate) sandbox: Applied,
    /// The attribution of exits.
    pub(crate) attribution: AttributionReport,
    /// TLS of the TCP listeners.
    pub(crate) tls: Option<Arc<Tls>>,
    /// The time of the boot, if procfs has it.
    booted_at: Option<StepAwareTime>,
    /// The description of the simulated kernel; empty for a real kernel.
    pub(crate) simulated_kernel: String,
    /// The kernel's version of `struct taskstats`, once it was queried.
    version: OnceLock<u16>,
}

/// The method by which exits are attributed to cgroups, and its limitation.
#[derive(Clone, Debug)]
pub(crate) struct AttributionReport {
    method: AttributionMethod,
    since: StepAwareTime,
    /// The reason why it is not the kernel's method; empty if it is.
    reason: String,
    /// The remedy; empty without one.
    fix: String,
}

/// The methods of attribution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AttributionMethod {
    Kernel,
    Off,
}

impl AttributionReport {
    /// A socket filter attributes exits, from now on.
    #[must_use]
    pub(crate) fn kernel() -> Self {
        let (method, since) = (AttributionMethod::Kernel, StepAwareTime::now());
        Self { method, since, reason: String::new(), fix: String::new() }
    }

    /// Exits are not attributed.
    #[must_use]
    pub(crate) fn off(reason: String, fix: String) -> Self {
        Self { method: AttributionMethod::Off, since: StepAwareTime::now(), reason, fix }
    }
}

/// A fact that could not be read from procfs.
#[derive(Debug, thiserror::Error)]
#[error("reading {path} failed: {source}; the agent needs /proc")]
pub struct NodeError {
    path: &'static str,
    source: io::Error,
}

impl Node {
    /// Reads the facts. `name` overrides the host name.
    ///
    /// # Errors
    /// When procfs is not mounted.
    pub(crate) fn read(name: Option<String>) -> Result<Self, NodeError> {
        Ok(Self {
            name: name.map_or_else(|| read(HOST_NAME), Ok)?,
            boot_id: read(BOOT_ID)?,
            kernel_release: read(KERNEL_RELEASE)?,
            instance_id: read(RANDOM_UUID)?,
            started_at: StepAwareTime::now(),
            sandbox: sandbox::applied(),
            attribution: AttributionReport::off(String::new(), String::new()),
            tls: None,
            booted_at: booted_at(&fs::read_to_string(STATISTICS).unwrap_or_default())
                .map(StepAwareTime::from_unix_time),
            simulated_kernel: String::new(),
            version: OnceLock::new(),
        })
    }

    /// Describes a simulated kernel, which has no release, and whose every run is another boot.
    ///
    /// # Errors
    /// When procfs is not mounted.
    pub(crate) fn running_on(self, kernel: &dyn Kernel) -> Result<Self, NodeError> {
        let Some(simulated_kernel) = kernel.simulated() else { return Ok(self) };
        let boot_id = read(RANDOM_UUID)?;
        let kernel_release = SIMULATED_RELEASE.to_owned();
        Ok(Self { simulated_kernel, boot_id, kernel_release, ..self })
    }

    /// Returns the kernel's version of `struct taskstats`.
    pub(super) fn version(&self, kernel: &dyn Kernel) -> Result<u16, KernelError> {
        if let Some(version) = self.version.get() {
            return Ok(*version);
        }
        let version = kernel.version()?;
        Ok(*self.version.get_or_init(|| version))
    }

    /// Returns the time since 1970 from which delays are accounted.
    fn accounted_since(&self, delays: DelayAccounting) -> Option<Duration> {
        match delays {
            DelayAccounting::On(Since::Boot) => {
                self.booted_at.map(|booted_at| booted_at.unix_time())
            }
            DelayAccounting::On(Since::Between { on_at, .. }) => Some(on_at),
            DelayAccounting::Off | DelayAccounting::Unknown => None,
        }
    }

    /// Returns the response of `GetNode`.
    pub(super) fn describe(
        &self,
        kernel: &Arc<dyn Kernel>,
        exits: &Exits,
        verdict: &Verdict,
        callers: &Callers,
    ) -> v1::GetNodeResponse {
        let delays = kernel.delay_accounting();
        v1::GetNodeResponse {
            node_name: self.name.clone(),
            boot_id: self.boot_id.clone(),
            kernel_release: self.kernel_release.clone(),
            taskstats_version: self.version(&**kernel).unwrap_or(0).into(),
            possible_cpus: kernel.possible_cpus().to_string(),
            online_cpus: kernel.online_cpus().map(|cpus| cpus.to_string()).unwrap_or_default(),
            delay_accounting: accounting(delays).into(),
            agent_version: env!("CARGO_PKG_VERSION").to_owned(),
            instance_id: self.instance_id.clone(),
            started_at: Some(timestamp(self.started_at.unix_time())),
            exits: Some(exits_state(verdict)),
            counters: Some(counters(exits, callers)),
            history: Some(history(exits)),
            certificates: self.tls.as_deref().map(certificates::in_use).unwrap_or_default(),
            tls: self.tls.as_deref().map(certificates::counts),
            delay_accounting_since: self.accounted_since(delays).map(timestamp),
            sandbox: Some(describe_sandbox(&self.sandbox, has_reloaded(self.tls.as_deref()))),
            simulated_kernel: self.simulated_kernel.clone(),
            attribution: Some(self.describe_attribution(exits)),
        }
    }

    fn describe_attribution(&self, exits: &Exits) -> v1::AttributionState {
        let counted = &exits.counters().attributed;
        let AttributionReport { method, since, reason, fix } = &self.attribution;
        let method = match method {
            AttributionMethod::Kernel => v1::AttributionMethod::Kernel,
            AttributionMethod::Off => v1::AttributionMethod::Off,
        };
        v1::AttributionState {
            method: method.into(),
            since: Some(timestamp(since.unix_time())),
            exact: counted.exact.get(),
            observed: counted.observed.get(),
            inferred: counted.inferred.get(),
            guess: counted.guess.get(),
            unknown: counted.unknown.get(),
            reason: reason.clone(),
            fix: fix.clone(),
        }
    }
}

/// Returns true if the TLS files were reloaded since the start.
fn has_reloaded(tls: Option<&Tls>) -> bool {
    tls.is_some_and(|tls| tls.counts().reloads > 0)
}

fn exits_state(verdict: &Verdict) -> v1::ExitsState {
    match verdict {
        Ok(()) => v1::ExitsState { watchable: true, ..v1::ExitsState::default() },
        Err(error) => v1::ExitsState {
            watchable: false,
            reason: error.to_string(),
            fix: error.cause().map_or("", Cause::advice_here).to_owned(),
        },
    }
}

/// Returns the sandbox in force. A reload of the TLS files refutes that they are unreadable.
fn describe_sandbox(sandbox: &Applied, has_reloaded: bool) -> v1::Sandbox {
    let is_over =
        |gap: &&MissingMeasure| has_reloaded && matches!(gap, MissingMeasure::Unreadable { .. });
    let gaps = sandbox.missing.iter().filter(|gap| !is_over(gap));
    v1::Sandbox {
        uid: sandbox.uid,
        gid: sandbox.gid,
        capabilities: sandbox.capabilities.clone(),
        no_new_privs: sandbox.no_new_privs,
        seccomp: sandbox.seccomp,
        landlock_version: sandbox.landlock,
        gaps: gaps.map(|gap| gap.advised().to_string()).collect(),
    }
}

fn counters(exits: &Exits, callers: &Callers) -> v1::Counters {
    let counters = exits.counters();
    let lost = [
        (v1::LostStage::KernelSocket, counters.lost_in_kernel.get()),
        (v1::LostStage::History, counters.lost_in_history.get()),
    ];
    let lost = lost.into_iter().filter(|(_, count)| *count > 0);
    v1::Counters {
        received: counters.received.get(),
        delivered: counters.delivered.get(),
        lost: lost.map(|(stage, count)| v1::LostCount { stage: stage.into(), count }).collect(),
        watchers: u32::try_from(callers.held(Resource::Watcher)).unwrap_or(u32::MAX),
        watched_cpus: exits.watched_cpus().to_string(),
        unexplained_gaps: counters.unexplained_gaps.get(),
        refused: refused(callers.rejections()),
        denied: callers.rejections().denied(),
    }
}

fn refused(refused: &RejectionCounters) -> Vec<v1::RefusedCount> {
    let counts = Limit::ALL.into_iter().map(|limit| v1::RefusedCount {
        limit: limit_number(limit).into(),
        count: refused.count(limit),
    });
    counts.filter(|refused| refused.count > 0).collect()
}

const fn limit_number(limit: Limit) -> v1::Limit {
    match limit {
        Limit::Connections => v1::Limit::Connections,
        Limit::Watchers => v1::Limit::Watchers,
        Limit::Calls => v1::Limit::Calls,
        Limit::CallRate => v1::Limit::CallRate,
        Limit::RequestSize => v1::Limit::RequestSize,
        Limit::HeaderSize => v1::Limit::HeaderSize,
        Limit::CallTime => v1::Limit::CallTime,
        Limit::IdleTime => v1::Limit::IdleTime,
        Limit::HandshakeTime => v1::Limit::HandshakeTime,
        Limit::Protocol => v1::Limit::Protocol,
        Limit::Streams => v1::Limit::Streams,
    }
}

fn history(exits: &Exits) -> v1::History {
    let report = exits.history();
    v1::History {
        first_sequence: report.first_sequence,
        last_sequence: report.last_sequence,
        bytes: report.bytes as u64,
        capacity_bytes: report.capacity as u64,
    }
}

/// Returns the time of the boot in `/proc/stat`, see `proc_stat(5)`.
fn booted_at(statistics: &str) -> Option<Duration> {
    let seconds = statistics.lines().find_map(|line| line.strip_prefix("btime "))?;
    Some(Duration::from_secs(seconds.trim().parse().ok()?))
}

fn read(path: &'static str) -> Result<String, NodeError> {
    let text = fs::read_to_string(path).map_err(|source| NodeError { path, source })?;
    Ok(text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::Inaccessible;

    #[test]
    fn a_gap_that_a_reload_refutes_is_not_reported() {
        let closed = Inaccessible::File("/etc/tls.key".into());
        let gaps = vec![MissingMeasure::NoLandlock, MissingMeasure::Unreadable { closed }];
        let sandbox = Applied { missing: gaps, ..Applied::default() };
        assert_eq!(describe_sandbox(&sandbox, false).gaps.len(), 2);
        let left = MissingMeasure::NoLandlock.advised().to_string();
        assert_eq!(describe_sandbox(&sandbox, true).gaps, [left]);
    }
}
