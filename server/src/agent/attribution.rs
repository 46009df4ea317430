//! Preparing the attribution of exits to cgroups, while the agent has its privileges.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::StartError;
use crate::bpf::{FilterError, FilterSet, Method};
use crate::config::AttributionChoice;
use crate::rpc::AttributionReport;
use crate::taskstats::Cpumask;
use crate::workload::{
    CONTAINER_LOGS, CgroupTable, Follower, Hierarchies, LiveWorkloads, POD_LOGS, PodLogs,
    RunningFollower,
};

/// The remedy for a missing capability.
const CAPABILITY_FIX: &str = "start the agent with CAP_BPF and CAP_PERFMON, which it gives up before it serves (systemd: AmbientCapabilities=CAP_NET_ADMIN CAP_BPF CAP_PERFMON, Kubernetes: capabilities.add [NET_ADMIN, BPF, PERFMON])";
/// The remedy for a kernel that cannot do it.
const KERNEL_FIX: &str = "use Linux 6.4 or newer, or one from 5.10 with CONFIG_DEBUG_INFO_BTF=y";
/// The remedy for missing hierarchies.
const MOUNT_FIX: &str = "mount cgroup2 on /sys/fs/cgroup";

/// The parts that attribute exits, prepared.
#[derive(Debug)]
pub(super) struct Attribution {
    /// The filters of the sockets.
    pub(super) filters: Option<FilterSet>,
    /// The method in force, for `GetNode`.
    pub(super) report: AttributionReport,
    /// Cgroups by id.
    pub(super) cgroups: Arc<CgroupTable>,
    hierarchies: Hierarchies,
    pub(super) follower: Option<Follower>,
}

impl Attribution {
    /// Attributes nothing.
    pub(super) fn off(reason: &str, fix: &str) -> Self {
        Self {
            filters: None,
            report: AttributionReport::off(reason.to_owned(), fix.to_owned()),
            cgroups: Arc::default(),
            hierarchies: Hierarchies::default(),
            follower: None,
        }
    }

    /// Loads filters for `cpus`, whose sockets have receive buffers of `receive_buffer` bytes, and
    /// opens the directories of names.
    ///
    /// # Errors
    /// [`StartError::Attribution`] when the choice asks for the kernel's method and it cannot be used.
    pub(super) fn prepare(
        choice: AttributionChoice,
        cpus: &Cpumask,
        receive_buffer: usize,
    ) -> Result<Self, StartError> {
        if choice == AttributionChoice::Off {
            return Ok(Self::off("--attribution off", "start the agent with --attribution auto"));
        }
        let failed = |error: AttributionError| match choice {
            AttributionChoice::Kernel => Err(StartError::Attribution(error)),
            AttributionChoice::Auto | AttributionChoice::Off => {
                let (reason, fix) = (error.to_string(), error.fix());
                tracing::warn!(reason, fix, "exits are not attributed to cgroups");
                Ok(Self::off(&reason, fix))
            }
        };
        let mut attribution = match Self::following() {
            Ok(attribution) => attribution,
            Err(error) => return failed(error),
        };
        match load(cpus, receive_buffer, attribution.hierarchies.v1_controller) {
            Ok(filters) => {
                let (method, memory_bytes) = (filters.method(), filters.memory());
                tracing::info!(?method, memory_bytes, "attributing exits by socket filters");
                attribution.filters = Some(filters);
                attribution.report = AttributionReport::kernel();
                Ok(attribution)
            }
            // The workloads of live tasks are still known.
            Err(error) => Ok(Self { report: failed(error.into())?.report, ..attribution }),
        }
    }

    /// Follows the hierarchies, without filters.
    fn following() -> Result<Self, AttributionError> {
        let hierarchies = Hierarchies::find().map_err(AttributionError::Mounts)?;
        if hierarchies.mounted.is_empty() {
            return Err(AttributionError::NoHierarchy);
        }
        let cgroups = Arc::new(CgroupTable::default());
        let logs = PodLogs::open(Path::new(POD_LOGS), Path::new(CONTAINER_LOGS));
        let follower = Follower::new(hierarchies.clone(), Arc::clone(&cgroups), logs);
        Ok(Self {
            filters: None,
            report: AttributionReport::off(String::new(), String::new()),
            cgroups,
            hierarchies,
            follower: Some(follower.map_err(AttributionError::Follower)?),
        })
    }

    /// Finds the workloads of live tasks.
    pub(super) fn live(&self) -> LiveWorkloads {
        LiveWorkloads::new(self.hierarchies.clone(), Arc::clone(&self.cgroups))
    }

    /// The directories that are read while the agent serves.
    pub(super) fn directories(&self) -> impl Iterator<Item = PathBuf> {
        let roots = self.follower.iter().flat_map(Follower::roots).map(Path::to_owned);
        let logs = [POD_LOGS, CONTAINER_LOGS].map(PathBuf::from);
        roots.chain(logs.into_iter().filter(|_| self.follower.is_some()))
    }

    /// Starts the thread that follows the hierarchies.
    ///
    /// # Errors
    /// [`StartError::Attribution`] when the system starts no thread.
    pub(super) fn start(&mut self) -> Result<Option<RunningFollower>, StartError> {
        let started = self.follower.take().map(Follower::start).transpose();
        started.map_err(|error| StartError::Attribution(AttributionError::Follower(error)))
    }
}

/// Reasons for which exits cannot be attributed by filters.
#[derive(Debug, thiserror::Error)]
pub enum AttributionError {
    /// The mounts cannot be read.
    #[error("reading /proc/self/mountinfo failed: {0}")]
    Mounts(#[source] io::Error),
    /// No hierarchy of cgroups is mounted.
    #[error("no hierarchy of cgroups is mounted")]
    NoHierarchy,
    /// The filters cannot be loaded.
    #[error("the kernel refused the socket filter: {0}")]
    Filter(#[from] FilterError),
    /// The hierarchies cannot be followed.
    #[error("cgroups cannot be followed: {0}")]
    Follower(#[source] io::Error),
}

impl AttributionError {
    fn fix(&self) -> &'static str {
        match self {
            Self::NoHierarchy => MOUNT_FIX,
            Self::Filter(error) if error.is_permission() => CAPABILITY_FIX,
            Self::Filter(_) => KERNEL_FIX,
            Self::Mounts(_) | Self::Follower(_) => "",
        }
    }
}

/// Loads filters by the best method that works. Offsets see both versions of cgroups, so they are
/// tried first where a hierarchy of cgroup v1 is mounted; otherwise the helper, which needs less.
fn load(
    cpus: &Cpumask,
    receive_buffer: usize,
    v1_controller: Option<&str>,
) -> Result<FilterSet, FilterError> {
    let methods = match v1_controller {
        Some(_) => [Method::Offsets, Method::Helper],
        None => [Method::Helper, Method::Offsets],
    };
    let mut refusal = None;
    for method in methods {
        match FilterSet::load(cpus.iter(), receive_buffer, method, v1_controller) {
            Ok(filters) => return Ok(filters),
            Err(error) => {
                tracing::debug!(?method, %error, "a socket filter was refused");
                refusal.get_or_insert(error);
            }
        }
    }
    Err(refusal.unwrap_or(FilterError::Assembly))
}
