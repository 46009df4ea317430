//! Callers for tests.

use std::sync::Arc;

use crate::security::{Caller, Callers, Limits, Policy, Principal, Redaction};

const LIMITS: Limits = Limits {
    connections: 4,
    overflow: 1,
    watchers: 4,
    calls: 4,
    slow_calls: 4,
    share_percent: 100,
    call_rate: 0,
};

/// Returns the state without callers.
pub(super) fn callers() -> Arc<Callers> {
    Arc::new(Callers::new(Policy::default(), Redaction::default(), LIMITS))
}

/// Returns a connected caller.
pub(super) fn connected(callers: &Arc<Callers>) -> Arc<Caller> {
    let principal = Arc::new(Principal::Local { uid: 1, gid: 1 });
    callers.connect(&principal).expect("a free connection")
}

/// Returns the only caller.
pub(super) fn caller() -> Arc<Caller> {
    connected(&callers())
}
