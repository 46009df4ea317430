//! The log lines of the start.

use bytesize::ByteSize;

use super::Agent;
use crate::advice::{Cause, HasCause};
use crate::capacity::{MemoryBound, number, receive_buffers};
use crate::listen::ListenAddress;
use crate::sandbox::MissingMeasure;

impl Agent {
    /// Logs the sandbox, the listeners, doubtful rules of `--allow`, and the memory bound.
    pub(super) fn log_start(&self) {
        self.log_sandbox();
        let addresses = self.log_listeners();
        for warning in self.config.policy.warnings(&self.config.transports(&addresses)) {
            tracing::warn!("{warning}");
        }
        self.log_memory(&addresses);
    }

    fn log_sandbox(&self) {
        tracing::info!("applied sandbox: {}", self.node.sandbox);
        for missing in &self.node.sandbox.missing {
            let fix = missing.cause().map(Cause::advice_here);
            match missing {
                MissingMeasure::NoSandbox
                | MissingMeasure::RootWanted
                | MissingMeasure::WideDirectory { .. }
                | MissingMeasure::Unreadable { .. } => tracing::warn!(fix, "{missing}"),
                _ => tracing::info!(fix, "{missing}"),
            }
        }
    }

    /// Logs the address of each listener, and returns the addresses.
    fn log_listeners(&self) -> Vec<ListenAddress> {
        let mut addresses = Vec::new();
        for listener in &self.listeners {
            match listener.address() {
                Ok(address) => {
                    tracing::info!(addr = %address, "listening");
                    addresses.push(address);
                }
                Err(error) => tracing::warn!(%error, "listening; reading the address failed"),
            }
        }
        addresses
    }

    /// Logs the memory bound, and warns if the control group has less.
    fn log_memory(&self, addresses: &[ListenAddress]) {
        let cpus = self.kernel.possible_cpus().len();
        let bound = MemoryBound::of(&self.config, cpus, addresses);
        let size = ByteSize::b;
        tracing::info!(
            total = %size(bound.total()),
            parts = %bound.parts(),
            "computed memory bound"
        );
        tracing::info!(history = %size(number(self.config.history_bytes)), "allocated history");
        if bound.simulated == 0 {
            tracing::info!(
                each = %size(number(self.config.reader.receive_buffer)),
                total = %size(receive_buffers(&self.config, cpus)),
                "computed receive buffers: held by the kernel while exits are watched, and charged to no control group"
            );
        }
        if let Some(limit) = &self.memory_limit
            && limit.bytes < bound.total()
        {
            tracing::warn!(
                "{limit} is below the memory bound, so clients that use all limits get the agent killed; raise it, or lower --max-connections, --max-streams, --max-watchers, --max-slow-calls or --history-bytes"
            );
        }
    }
}
