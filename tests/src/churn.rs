//! Threads that end on every CPU at once.

use anyhow::{Result, ensure};

use crate::cpus;
use crate::workload::Workload;

/// Starts to end `each` threads on each CPU, and one process per CPU with them.
///
/// # Errors
///
/// The workloads cannot be started.
pub fn start_churn(each: usize) -> Result<Vec<Workload>> {
    let each = each.to_string();
    let start = |cpu: &u32| Workload::start(&["--cpu", &cpu.to_string(), "churn-threads", &each]);
    cpus::online()?.iter().map(start).collect()
}

/// Waits for workloads, and returns their ids.
///
/// # Errors
///
/// A workload failed, or does not end.
pub async fn end_all(workloads: Vec<Workload>) -> Result<Vec<u32>> {
    let mut pids = Vec::new();
    for workload in workloads {
        let ended = workload.end().await?;
        ensure!(ended.status.success(), "{ended:?}");
        pids.push(ended.pid);
    }
    Ok(pids)
}
