//! Room for callers among the descriptors that there are.

use std::io;

use crate::config::Config;
use crate::descriptors::{self, Needs, Plan};
use crate::listen::HANDSHAKES;
use crate::taskstats::Kernel;

/// Lowers how many connections are allowed to what there are descriptors for, once all is open that is open
/// at the start, and returns how many handshakes there are some for. Warns if these are fewer than were
/// wanted. `stored` sockets of an earlier run listen to CPUs already.
pub(super) fn make_room(
    config: &mut Config,
    kernel: &dyn Kernel,
    stored: usize,
) -> io::Result<usize> {
    // A simulated kernel's sockets are memory.
    let cpus = if kernel.simulated().is_some() { 0 } else { kernel.possible_cpus().len() };
    let needs = Needs {
        open: descriptors::count_open()?,
        cpus: cpus.saturating_sub(stored),
        connections: config.limits.connections,
        overflow: config.limits.overflow,
        handshakes: if config.tls.is_some() { HANDSHAKES } else { 0 },
    };
    let plan = needs.within(descriptors::limit()?).unwrap_or_else(|shortage| {
        tracing::warn!(
            "{shortage}; raise the limit (systemd: LimitNOFILE=, shell: ulimit -n), or lower --max-connections"
        );
        shortage.plan
    });
    let Plan { connections, overflow, handshakes } = plan;
    (config.limits.connections, config.limits.overflow) = (connections, overflow);
    Ok(handshakes)
}
