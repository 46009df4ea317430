//! Compares the served statistics with those of this machine's kernel.

use anyhow::Result;
use taskstats_proto::v1::{DelayAccounting, TaskStats};
use taskstats_tests::fields::Comparison;
use taskstats_tests::kernel::Record;

/// Checks that served statistics lie between two records of the same task, read before and after.
pub(crate) fn assert_between(before: &Record, stats: &TaskStats, after: &Record) -> Result<()> {
    let accounted = match delay_accounting()? {
        // It may have been on before.
        DelayAccounting::Off => [DelayAccounting::Off, DelayAccounting::Partial],
        // The task may have begun before the agent knows.
        _ => [DelayAccounting::On, DelayAccounting::Unknown],
    };
    assert!(accounted.contains(&stats.delay_accounting()), "{:?}", stats.delay_accounting());
    Comparison::default().live(before, stats, after)
}

/// Reads the kernel's sysctl of delay accounting.
pub(crate) fn delay_accounting() -> Result<DelayAccounting> {
    let switch = std::fs::read_to_string("/proc/sys/kernel/task_delayacct")?;
    Ok(if switch.trim() == "0" { DelayAccounting::Off } else { DelayAccounting::On })
}
