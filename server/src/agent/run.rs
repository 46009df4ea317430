//! A running agent.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{InFlight, RunningHealthTask, exits_unavailable};
use crate::exits::Exits;
use crate::handover::Handover;
use crate::readiness::Readiness;
use crate::rpc::{Health, Node};
use crate::taskstats::KernelError;
use crate::workload::RunningFollower;

/// An agent that serves.
#[derive(Debug)]
pub struct Running {
    pub(super) serving: JoinHandle<()>,
    pub(super) in_flight: InFlight,
    /// Reads certificates again when they change.
    pub(super) reloading: Option<JoinHandle<()>>,
    pub(super) stop: CancellationToken,
    pub(super) exits: Arc<Exits>,
    pub(super) node: Arc<Node>,
    pub(super) handover: Option<Handover>,
    pub(super) readiness: Readiness,
    pub(super) health_task: Option<RunningHealthTask>,
    pub(super) health: Health,
    pub(super) fail_fast: bool,
    pub(super) drain_timeout: Duration,
    /// Follows cgroups until the agent has ended.
    pub(super) _follower: Option<RunningFollower>,
}

/// Why an agent cannot go on.
#[derive(Debug)]
pub enum Failure {
    /// A part of it ended by itself.
    Broken(String),
    /// Exits cannot be watched any more, and `--fail-fast` says to end then.
    ExitsUnavailable(Arc<KernelError>),
}

impl Running {
    /// Waits for a reason to end that nobody asked for.
    pub async fn failed(&mut self) -> Failure {
        let unavailable = exits_unavailable(self.readiness.clone());
        tokio::select! {
            served = &mut self.serving => Failure::Broken(match served {
                Ok(()) => "the server ended".to_owned(),
                Err(error) => error.to_string(),
            }),
            () = self.exits.ended() => Failure::Broken("the exit reader ended".to_owned()),
            error = unavailable, if self.fail_fast => Failure::ExitsUnavailable(error),
        }
    }
}
