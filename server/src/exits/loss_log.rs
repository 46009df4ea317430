//! Log lines about lost exits.
//!
//! Clients are notified of every loss. The operator reads one line for each cause in a while, which
//! names the flag that helps.

use std::time::{Duration, Instant};

use super::history::KernelLoss;
use crate::telemetry::Throttle;

/// Interval between two lines of a cause. An overload loses exits many times a second.
const INTERVAL: Duration = Duration::from_secs(10);

static DROPPED: Throttle = Throttle::new(INTERVAL);
static OVERTAKEN: Throttle = Throttle::new(INTERVAL);

/// Warns that the kernel dropped exits. `total` counts them since the start of the agent.
pub(super) fn dropped_in_kernel(loss: &KernelLoss, total: u64) {
    let KernelLoss { cpu, count, .. } = loss;
    if DROPPED.pass(Instant::now()).is_some() {
        tracing::warn!(
            cpu,
            count,
            total,
            "lost exits: the receive buffer of a CPU was full; a larger --receive-buffer holds more"
        );
    }
}

/// Warns that exits were evicted from the history before a watcher read them. `total` counts them
/// since the start of the agent, for each watcher.
pub(super) fn watcher_overtaken(count: Option<u64>, total: u64) {
    if OVERTAKEN.pass(Instant::now()).is_some() {
        tracing::warn!(
            count,
            total,
            "lost exits: a client reads more slowly than exits come; a larger --history-bytes lets \
             it fall further behind"
        );
    }
}
