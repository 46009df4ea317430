//! `--enable-delay-accounting`.

use crate::taskstats::{DelayAccounting, Kernel};

/// Turns delay accounting on, and logs it, because it stays on after the agent has ended.
pub(super) fn enable_delay_accounting(kernel: &dyn Kernel) {
    if let DelayAccounting::On(_) = kernel.delay_accounting() {
        tracing::info!("kept delay accounting on");
        return;
    }
    match kernel.enable_delay_accounting() {
        Ok(()) if kernel.simulated().is_some() => tracing::info!(
            "enabled delay accounting for simulated tasks that start from now on; the kernel of this machine is unchanged"
        ),
        Ok(()) => tracing::info!(
            "enabled delay accounting for tasks that start from now on; it stays on after the agent has ended (sysctl kernel.task_delayacct=0 turns it off)"
        ),
        Err(error) => tracing::warn!(
            "--enable-delay-accounting has no effect: {error}; set kernel.task_delayacct=1 by sysctl.d, or boot the kernel with the parameter delayacct"
        ),
    }
}
