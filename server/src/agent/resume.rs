//! Resuming from the state of the previous run, or starting with an empty history.

use std::sync::Arc;

use super::health::AlwaysWatch;
use super::{Agent, StartError};
use crate::config::Config;
use crate::exits::{self, Exits};
use crate::handover::{self, Handover, PreviousRun, StoredDescriptor};
use crate::readiness::{Prober, Readiness};
use crate::rpc::Node;
use crate::taskstats::Kernel;
use crate::workload::{CgroupTable, RunningFollower};

/// The parts of an agent that run before it accepts connections.
#[derive(Debug)]
pub(super) struct Resumed {
    pub(super) exits: Arc<Exits>,
    pub(super) prober: Prober,
    pub(super) readiness: Readiness,
    pub(super) always_watch: Option<AlwaysWatch>,
    pub(super) follower: Option<RunningFollower>,
}

impl Agent {
    /// Starts the parts that run before the agent accepts connections. Their threads inherit the
    /// privileges of the caller.
    pub(super) async fn resume(&mut self) -> Result<Resumed, StartError> {
        self.kernel.start_threads().map_err(StartError::Simulation)?;
        let follower = self.attribution.start()?;
        let stored = std::mem::take(&mut self.stored);
        let previous = previous_run(self.handover.as_ref(), stored);
        let exits = start_exits(
            &self.config,
            &self.kernel,
            &mut self.node,
            previous,
            &self.attribution.cgroups,
        )?;
        let (prober, readiness) = Prober::start(Arc::clone(&self.kernel)).await;
        if let (true, Err(error)) = (self.config.fail_fast, readiness.verdict()) {
            return Err(StartError::ExitsUnavailable(error));
        }
        let mut always_watch = self.always_watch.take().map(AlwaysWatch::new);
        if let Some(wanted) = &mut always_watch
            && readiness.verdict().is_ok()
            && let Err(error) = wanted.claim(&exits).await
            && self.config.fail_fast
        {
            return Err(error.into());
        }
        Ok(Resumed { exits: Arc::new(exits), prober, readiness, always_watch, follower })
    }
}

/// Returns the state of the previous run, or `None` after logging why it cannot be used.
fn previous_run(handover: Option<&Handover>, stored: Vec<StoredDescriptor>) -> Option<PreviousRun> {
    let Some(handover) = handover else {
        handover::discard(stored);
        return None;
    };
    handover.take(stored).unwrap_or_else(|error| {
        tracing::warn!(
            %error,
            "discarded the state of the previous run; its cursors are no longer valid"
        );
        None
    })
}

/// Starts the exit reader with the sequence, the history and the instance id of the previous run, or anew.
fn start_exits(
    config: &Config,
    kernel: &Arc<dyn Kernel>,
    node: &mut Node,
    previous: Option<PreviousRun>,
    cgroups: &Arc<CgroupTable>,
) -> Result<Exits, exits::StartError> {
    let (reader, history_bytes) = (config.reader, config.history_bytes);
    if let Some(PreviousRun { instance_id, exits }) = previous {
        match Exits::resume(Arc::clone(kernel), reader, history_bytes, exits, Arc::clone(cgroups)) {
            Ok(exits) => {
                tracing::info!(instance_id, "resumed from the state of the previous run");
                node.instance_id = instance_id;
                return Ok(exits);
            }
            Err(error) => {
                tracing::warn!(%error, "resuming from the state of the previous run failed");
            }
        }
    }
    Exits::start(Arc::clone(kernel), reader, history_bytes, Arc::clone(cgroups))
}
