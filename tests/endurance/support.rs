//! What several tests need.

use std::env;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use taskstats_proto::v1::{Counters, GetNodeRequest};
use taskstats_tests::client::service;
use taskstats_tests::cpus;
use taskstats_tests::workload::Workload;

/// Says how many seconds a test lasts at least.
const SECONDS: &str = "TASKSTATS_ENDURANCE_SECONDS";
/// How many if it does not.
const DEFAULT_SECONDS: u64 = 120;

/// How long a test lasts that has no end of its own.
pub(crate) fn duration() -> Result<Duration> {
    let seconds = match env::var(SECONDS) {
        Ok(text) => text.parse().with_context(|| format!("{SECONDS} is {text:?}"))?,
        Err(_) => DEFAULT_SECONDS,
    };
    Ok(Duration::from_secs(seconds))
}

/// Begins to end threads on every CPU at once, so many on each.
pub(crate) fn start_churn(each: usize) -> Result<Vec<Workload>> {
    let each = each.to_string();
    let start = |cpu: &u32| Workload::start(&["--cpu", &cpu.to_string(), "churn-threads", &each]);
    cpus::online()?.iter().map(start).collect()
}

/// Waits for workloads, and returns their ids.
pub(crate) async fn end_all(workloads: Vec<Workload>) -> Result<Vec<u32>> {
    let mut pids = Vec::new();
    for workload in workloads {
        let ended = workload.end().await?;
        ensure!(ended.status.success(), "{ended:?}");
        pids.push(ended.pid);
    }
    Ok(pids)
}

/// Ends a process on each CPU; returns them.
pub(crate) async fn mark() -> Result<Vec<u32>> {
    let mut pids = Vec::new();
    for cpu in cpus::online()? {
        pids.push(Workload::run(&["--cpu", &cpu.to_string(), "exit", "0"]).await?.pid);
    }
    Ok(pids)
}

pub(crate) async fn counters(url: &str) -> Result<Counters> {
    let node = service(url).await?.get_node(GetNodeRequest {}).await?.into_inner();
    node.counters.context("no counters")
}
