//! A call that takes the kernel longer, and the places that it takes away from others until its answer has
//! gone.

use std::sync::Arc;

use super::RpcError;
use crate::security::{Caller, Permit, Resource};

/// Tasks whose accounts take one place: no fewer than `BatchGet` may ask for. So the memory of all answers
/// has a bound.
const TASKS_OF_A_CALL: usize = 1024;

/// The places of a call among slow ones.
#[derive(Debug)]
pub(super) struct SlowCall {
    caller: Arc<Caller>,
    slots: Vec<Permit>,
}

impl SlowCall {
    /// Takes the first one.
    pub(super) fn begin(caller: &Arc<Caller>) -> Result<Self, RpcError> {
        let slot = caller.acquire(Resource::SlowCall).map_err(RpcError::LimitReached)?;
        Ok(Self { caller: Arc::clone(caller), slots: vec![slot] })
    }

    /// Takes what the accounts of so many tasks need, all together.
    pub(super) fn grow_to(&mut self, tasks: usize) -> Result<(), RpcError> {
        while self.slots.len() < tasks.div_ceil(TASKS_OF_A_CALL) {
            self.slots
                .push(self.caller.acquire(Resource::SlowCall).map_err(RpcError::LimitReached)?);
        }
        Ok(())
    }

    /// How many of `tasks` its caller could ever ask for at once.
    pub(super) fn most_of(&self, tasks: usize) -> usize {
        let is_possible = |places: &usize| self.caller.could_hold(Resource::SlowCall, *places);
        let places = (1..=tasks.div_ceil(TASKS_OF_A_CALL)).take_while(is_possible).count();
        tasks.min(places * TASKS_OF_A_CALL)
    }

    /// The places, which are given back when they are dropped.
    pub(super) fn into_slots(self) -> Arc<Vec<Permit>> {
        Arc::new(self.slots)
    }
}
