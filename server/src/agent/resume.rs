//! Taking up what an earlier run left, or beginning anew.

use std::sync::Arc;

use super::health::AlwaysWatch;
use super::{Agent, StartError};
use crate::config::Config;
use crate::exits::{self, Exits};
use crate::handover::{self, Handover, PreviousRun, StoredSocket};
use crate::readiness::{Prober, Readiness};
use crate::rpc::Node;
use crate::taskstats::Kernel;
use crate::workload::{CgroupTable, RunningFollower};

/// What runs before callers are served.
#[derive(Debug)]
pub(super) struct Resumed {
    pub(super) exits: Arc<Exits>,
    pub(super) prober: Prober,
    pub(super) readiness: Readiness,
    pub(super) always_watch: Option<AlwaysWatch>,
    pub(super) follower: Option<RunningFollower>,
}

impl Agent {
    /// Starts what runs before callers are served. Its threads have the rights of the caller.
    pub(super) async fn resume(&mut self) -> Result<Resumed, StartError> {
        self.kernel.start_threads().map_err(StartError::Simulation)?;
        let follower = self.attribution.start()?;
        let stored = std::mem::take(&mut self.stored);
        let predecessor = predecessor(self.handover.as_ref(), stored);
        let exits = start_exits(
            &self.config,
            &self.kernel,
            &mut self.node,
            predecessor,
            &self.attribution.cgroups,
        )?;
        let (prober, readiness) = Prober::start(Arc::clone(&self.kernel)).await;
        if let (true, Err(error)) = (self.config.fail_fast, readiness.verdict()) {
            return Err(StartError::FailFast(error));
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

/// What an earlier run left, or `None` with a word why it cannot be used.
fn predecessor(handover: Option<&Handover>, stored: Vec<StoredSocket>) -> Option<PreviousRun> {
    let Some(handover) = handover else {
        handover::discard(stored);
        return None;
    };
    handover.take(stored).unwrap_or_else(|error| {
        tracing::warn!(%error, "what an earlier run left is not taken up; cursors of it are void");
        None
    })
}

/// Goes on where the predecessor stopped, under its instance id, or begins anew.
fn start_exits(
    config: &Config,
    kernel: &Arc<dyn Kernel>,
    node: &mut Node,
    predecessor: Option<PreviousRun>,
    cgroups: &Arc<CgroupTable>,
) -> Result<Exits, exits::StartError> {
    let (reader, history_bytes) = (config.reader, config.history_bytes);
    if let Some(PreviousRun { instance_id, exits }) = predecessor {
        match Exits::resume(Arc::clone(kernel), reader, history_bytes, exits, Arc::clone(cgroups)) {
            Ok(exits) => {
                tracing::info!(instance_id, "going on where an earlier run stopped");
                node.instance_id = instance_id;
                return Ok(exits);
            }
            Err(error) => tracing::warn!(%error, "what an earlier run left cannot be taken up"),
        }
    }
    Exits::start(Arc::clone(kernel), reader, history_bytes, Arc::clone(cgroups))
}
