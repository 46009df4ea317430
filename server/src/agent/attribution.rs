//! Preparing the attribution of exits to cgroups, while the agent has its privileges.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::StartError;
use crate::advice::{Cause, HasCause};
use crate::bpf::FilterSet;
use crate::config::AttributionChoice;
use crate::rpc::AttributionReport;
use crate::taskstats::Cpumask;
use crate::workload::{
    AttributionError, CONTAINER_LOGS, CgroupTable, Follower, Hierarchies, LiveWorkloads, POD_LOGS,
    PodLogs, RunningFollower, find_hierarchies, load_filters,
};

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
                let reason = error.to_string();
                let fix = error.cause().map_or("", Cause::advice_here);
                tracing::warn!(reason, fix, "exits are not attributed to cgroups");
                Ok(Self::off(&reason, fix))
            }
        };
        let mut attribution = match Self::following() {
            Ok(attribution) => attribution,
            Err(error) => return failed(error),
        };
        match load_filters(cpus, receive_buffer, &attribution.hierarchies) {
            Ok(filters) => {
                let (method, memory_bytes) = (filters.method(), filters.memory());
                tracing::info!(?method, memory_bytes, "attributing exits by socket filters");
                attribution.filters = Some(filters);
                attribution.report = AttributionReport::kernel();
                Ok(attribution)
            }
            // The workloads of live tasks are still known.
            Err(error) => Ok(Self { report: failed(error)?.report, ..attribution }),
        }
    }

    /// Follows the hierarchies, without filters.
    fn following() -> Result<Self, AttributionError> {
        let hierarchies = find_hierarchies()?;
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
