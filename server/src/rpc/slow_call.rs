//! A call whose time in the kernel grows with its request, and the permits that it holds until its
//! response is sent.

use std::sync::Arc;

use super::RpcError;
use crate::security::{Caller, Permit, Resource};

/// The number of tasks for each permit, no smaller than a `BatchGet` may have, so that the memory of
/// all responses has a bound.
const TASKS_PER_PERMIT: usize = 1024;

/// The permits of a slow call.
#[derive(Debug)]
pub(super) struct SlowCall {
    caller: Arc<Caller>,
    permits: Vec<Permit>,
}

impl SlowCall {
    /// Acquires the first permit.
    pub(super) fn begin(caller: &Arc<Caller>) -> Result<Self, RpcError> {
        let permit = caller.acquire(Resource::SlowCall).map_err(RpcError::LimitReached)?;
        Ok(Self { caller: Arc::clone(caller), permits: vec![permit] })
    }

    /// Acquires the permits that the statistics of `tasks` need in all.
    pub(super) fn grow_to(&mut self, tasks: usize) -> Result<(), RpcError> {
        while self.permits.len() < tasks.div_ceil(TASKS_PER_PERMIT) {
            self.permits
                .push(self.caller.acquire(Resource::SlowCall).map_err(RpcError::LimitReached)?);
        }
        Ok(())
    }

    /// Returns how many of `tasks` the caller could request at once if no other caller held permits.
    pub(super) fn max_tasks(&self, tasks: usize) -> usize {
        let is_possible = |permits: &usize| self.caller.could_hold(Resource::SlowCall, *permits);
        let permits = (1..=tasks.div_ceil(TASKS_PER_PERMIT)).take_while(is_possible).count();
        tasks.min(permits * TASKS_PER_PERMIT)
    }

    /// Returns the permits, which are released when they are dropped.
    pub(super) fn into_permits(self) -> Arc<Vec<Permit>> {
        Arc::new(self.permits)
    }
}
