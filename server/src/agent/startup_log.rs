//! What the agent says of itself when it begins to serve.

use bytesize::ByteSize;

use super::Agent;
use crate::capacity::{MemoryBound, number, receive_buffers};
use crate::listen::Listener;

impl Agent {
    /// Warns of rules that nobody who can connect comes in by, or that let in no probe.
    fn log_policy(&self) {
        let listeners = self.listeners.iter();
        let addresses: Vec<_> = listeners.filter_map(|it| it.address().ok()).collect();
        for doubt in self.config.policy.warnings(&self.config.transports(&addresses)) {
            tracing::warn!("{doubt}");
        }
    }

    /// Says what is served, where, and with what.
    pub(super) fn log_start(&self) {
        self.log_rights();
        for listener in &self.listeners {
            match listener.address() {
                Ok(address) => tracing::info!("listening on {address}"),
                Err(error) => tracing::warn!(%error, "listening, but where is not known"),
            }
        }
        self.log_policy();
        self.log_memory();
    }

    /// Says what the agent may come to hold, and whether that is more than it may.
    fn log_memory(&self) {
        let cpus = self.kernel.possible_cpus().len();
        let addresses: Vec<_> =
            self.listeners.iter().filter_map(|listener| Listener::address(listener).ok()).collect();
        let bound = MemoryBound::of(&self.config, cpus, &addresses);
        tracing::info!("memory: at most about {bound}, if callers use up all limits");
        let history = ByteSize::b(number(self.config.history_bytes));
        let receive_buffer = ByteSize::b(number(self.config.reader.receive_buffer));
        if bound.simulated == 0 {
            let all = ByteSize::b(receive_buffers(&self.config, cpus));
            tracing::info!(
                %history,
                %receive_buffer,
                "while exits are watched, the kernel holds up to {all} for receive buffers, which counts to no control group"
            );
        }
        if let Some(limit) = &self.memory_limit
            && limit.bytes < bound.total()
        {
            tracing::warn!(
                "{limit} is less than that: callers who use up all limits end the agent; raise it, or lower --max-connections, --max-streams, --max-watchers, --max-slow-calls or --history-bytes"
            );
        }
    }
}
