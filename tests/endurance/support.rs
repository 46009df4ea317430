//! Functions that several tests need.

use std::env;
use std::time::Duration;

use anyhow::{Context, Result};
use taskstats_proto::v1::{Counters, GetNodeRequest};
use taskstats_tests::client::service;
use taskstats_tests::cpus;
use taskstats_tests::workload::Workload;

/// The variable with the least duration of a test in seconds.
const SECONDS: &str = "TASKSTATS_ENDURANCE_SECONDS";
/// Its default.
const DEFAULT_SECONDS: u64 = 120;

/// Returns the duration of a test that has no end by itself.
pub(crate) fn duration() -> Result<Duration> {
    let seconds = match env::var(SECONDS) {
        Ok(text) => text.parse().with_context(|| format!("{SECONDS} is {text:?}"))?,
        Err(_) => DEFAULT_SECONDS,
    };
    Ok(Duration::from_secs(seconds))
}

/// Ends a process on each CPU; returns the processes.
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
