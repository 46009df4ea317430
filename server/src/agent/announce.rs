//! What the agent says of itself when it begins to serve.

use super::Agent;

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
}
