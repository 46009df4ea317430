//! Many collectors that lose the agent at the same time and reconnect at the same time.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use taskstats_tests::churn::{end_all, start_churn};
use taskstats_tests::client::connect;
use taskstats_tests::cpus;
use taskstats_tests::deadline::within;
use taskstats_tests::follower::{Detached, Follower};
use taskstats_tests::machine_lock::MachineLock;
use taskstats_tests::process::{self, Vitals};
use taskstats_tests::selection::Selection;
use taskstats_tests::service_manager::ServiceManager;
use taskstatsd::capacity::MemoryBound;
use taskstatsd::config::{Args, Config};
use tokio::task::JoinSet;
use tokio::time::sleep;
use tonic::Status;
use tonic_types::StatusExt;

use crate::support::{counters, mark};

/// The number of collectors.
const COLLECTORS: usize = 500;
/// Limits just above what the collectors need, because the agent derives its memory bound from
/// them.
const LIMITS: [&str; 12] = [
    "--max-watchers",
    "512",
    "--max-connections",
    "640",
    "--max-streams",
    "4",
    "--max-calls",
    "512",
    "--max-slow-calls",
    "4",
    "--principal-share",
    "100",
];
/// Exits on each CPU while no collector is connected.
const EXITS: usize = 500;
/// The number of restarts.
const RESTARTS: usize = 3;

/// Five hundred collectors resume at once after each restart. None loses an exit or receives one
/// twice, and the agent stays below the memory bound that it derives from its limits.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn collectors_that_reconnect_at_once_lose_nothing() -> Result<()> {
    let _lock = MachineLock::exclusive()?;
    let mut manager = ServiceManager::new(LIMITS)?;
    let bound_kib = memory_bound()? / 1024;
    manager.start().await?;
    let url = manager.url();
    let mut collectors = Vec::new();
    for _ in 0..COLLECTORS {
        collectors.push(Follower::open(&connect(&url).await?, Selection::EVERYTHING).await?);
    }
    for _ in 0..RESTARTS {
        let (stopped, detached) = tokio::join!(manager.stop(), read_to_the_end(collectors));
        // On a busy machine a collector may not have read its last cursor by the drain deadline.
        // Its connection is closed then, and it resumes all the same.
        assert!(stopped?.code().is_some(), "{}", manager.stderr()?);
        let churned = end_all(start_churn(EXITS)?).await?;
        manager.start().await?;
        let before = Vitals::begin(manager.pid()?)?;
        collectors = reconnect_all(&url, detached?, churned).await?;
        assert_eq!(counters(&url).await?.watchers, u32::try_from(COLLECTORS)?);
        let after = Vitals::of(manager.pid()?)?;
        println!("{COLLECTORS} collectors: {before}, then {after}; bound {bound_kib} KiB");
        assert!(after.peak_kib <= bound_kib, "{} KiB, above {bound_kib}", after.peak_kib);
    }
    drop(collectors);
    process::becomes_idle(manager.pid()?).await?;
    assert!(manager.stop().await?.success());
    Ok(())
}

/// The memory bound of an agent with these limits, in bytes.
fn memory_bound() -> Result<u64> {
    let args = ["taskstatsd"].iter().chain(&LIMITS).chain(&["--state-dir", "/run"]);
    let config = Config::try_from(Args::try_parse_from(args)?)?;
    Ok(MemoryBound::of(&config, cpus::online()?.len(), &config.listen).total())
}

/// Reads all streams to their ends.
async fn read_to_the_end(collectors: Vec<Follower>) -> Result<Vec<Detached>> {
    let mut ending = JoinSet::new();
    for mut follower in collectors {
        ending.spawn(async move { follower.end().await.map(|_| follower.leave()) });
    }
    ending.join_all().await.into_iter().collect()
}

/// Resumes a stream; retries after the delay of the response while too many collectors do so at
/// once.
async fn reconnect(url: &str, left: Detached) -> Result<Follower> {
    let channel = connect(url).await?;
    let reopened = within("a stream to resume", async {
        loop {
            match left.reopen(&channel).await {
                Err(error) => sleep(retry_after(&error).ok_or(error)?).await,
                Ok(reopened) => return anyhow::Ok(reopened),
            }
        }
    });
    let (follower, earlier) = reopened.await??.follow(left);
    ensure!(earlier.is_none(), "the history was not handed over");
    Ok(follower)
}

fn retry_after(error: &anyhow::Error) -> Option<Duration> {
    let status = error.downcast_ref::<Status>()?;
    status.get_error_details().retry_info()?.retry_delay
}

/// Resumes all streams at once, and reads each up to the same exits.
async fn reconnect_all(url: &str, left: Vec<Detached>, churned: Vec<u32>) -> Result<Vec<Follower>> {
    let mut reconnecting = JoinSet::new();
    for left in left {
        let url = url.to_owned();
        let churned = churned.clone();
        reconnecting.spawn(async move {
            let mut follower = reconnect(&url, left).await?;
            for pid in churned {
                follower.exit_of(pid).await?;
            }
            follower.stitched().ensure_complete()?;
            ensure!(follower.stitched().gaps().is_empty(), "{:?}", follower.stitched().gaps());
            anyhow::Ok(follower)
        });
    }
    let reconnected = reconnecting.join_all().await;
    let mut collectors: Vec<Follower> = reconnected.into_iter().collect::<Result<_>>()?;
    // Another exit, which all streams receive while they are open.
    let mark = *mark().await?.last().context("no CPU")?;
    for follower in &mut collectors {
        follower.exit_of(mark).await?;
    }
    Ok(collectors)
}
