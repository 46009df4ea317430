//! `--enable-delay-accounting`.

use crate::taskstats::{DelayAccounting, Kernel};

/// Has the kernel account delays, and says so, since it goes on after the agent has ended.
pub(super) fn enable_delay_accounting(kernel: &dyn Kernel) {
    if let DelayAccounting::On(_) = kernel.delay_accounting() {
        tracing::info!("delay accounting is on already");
        return;
    }
    match kernel.enable_delay_accounting() {
        Ok(()) if kernel.simulated().is_some() => tracing::info!(
            "turned delay accounting on for simulated tasks that begin from now on; this machine's kernel is left as it is"
        ),
        Ok(()) => tracing::info!(
            "turned delay accounting on for tasks that begin from now on; it stays on after the agent has ended (sysctl kernel.task_delayacct=0 turns it off)"
        ),
        Err(error) => tracing::warn!(
            "--enable-delay-accounting has no effect: {error}; set kernel.task_delayacct=1 by sysctl.d, or start the kernel with the parameter delayacct"
        ),
    }
}
