//! What an end cuts off.

use std::fmt;
use std::sync::Arc;

use super::Running;
use crate::security::{Callers, Resource};

/// Connections, calls and streams that have not ended at the moment when it is printed.
#[derive(Clone, Debug)]
pub struct InFlight(pub(super) Arc<Callers>);

impl Running {
    /// What has not ended yet, to be told also while it drains.
    #[must_use]
    pub fn in_flight(&self) -> InFlight {
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
            "connections: {}, calls: {}, streams: {}",
            held(&[Resource::Connection, Resource::Overflow]),
            held(&[Resource::Call, Resource::HealthCheck]),
            held(&[Resource::Watcher, Resource::Stream]),
        )
    }
}
