//! Room for callers among the descriptors that there are.

use std::io;

use crate::config::Config;
use crate::descriptors::{self, Needs, Plan};
use crate::listen::HANDSHAKES;
use crate::taskstats::Kernel;

/// How many callers there are descriptors for, once all is open that is open at the start. Warns if these
/// are fewer than the configuration allows. `stored` sockets of an earlier run listen to CPUs already.
pub(super) fn room_for_callers(
    config: &Config,
    kernel: &dyn Kernel,
    stored: usize,
) -> io::Result<Plan> {
    // A simulated kernel's sockets are memory.
    let cpus = if kernel.simulated().is_some() { 0 } else { kernel.possible_cpus().len() };
    let needs = Needs {
        open: descriptors::count_open()?,
        cpus: cpus.saturating_sub(stored),
        connections: config.limits.connections,
        turned_away: config.limits.turned_away,
        handshakes: if config.tls.is_some() { HANDSHAKES } else { 0 },
    };
    Ok(needs.within(descriptors::limit()?).unwrap_or_else(|shortage| {
        tracing::warn!(
            "{shortage}; raise the limit (systemd: LimitNOFILE=, shell: ulimit -n), or lower --max-connections"
        );
        shortage.plan
    }))
}
