//! The connections, calls and streams that have not ended.

use std::fmt;
use std::sync::Arc;

use super::Running;
use crate::security::{Callers, Resource};

/// Displays the numbers of connections, calls and streams at the time when it is formatted.
#[derive(Clone, Debug)]
pub(super) struct InFlight(pub(super) Arc<Callers>);

impl Running {
    /// Returns a handle that stays usable while the agent drains.
    pub(super) fn in_flight(&self) -> InFlight {
        self.in_flight.clone()
    }
}

impl fmt::Display for InFlight {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let held = |resources: &[Resource]| -> usize {
            resources.iter().map(|resource| self.0.held(*resource)).sum()
        };
        write!(
            formatter,
            "connections={} calls={} streams={}",
            held(&[Resource::Connection, Resource::Overflow]),
            held(&[Resource::Call, Resource::HealthCheck]),
            held(&[Resource::Watcher, Resource::Stream]),
        )
    }
}
