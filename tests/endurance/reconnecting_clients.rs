//! Many collectors that lose the agent at the same moment, and come back at the same moment.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use taskstats_tests::churn::{end_all, start_churn};
use taskstats_tests::client::connect;
use taskstats_tests::deadline::within;
use taskstats_tests::follower::{Detached, Follower};
use taskstats_tests::machine_lock::MachineLock;
use taskstats_tests::process::{self, Vitals};
use taskstats_tests::selection::Selection;
use taskstats_tests::service_manager::ServiceManager;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tonic::Status;
use tonic_types::StatusExt;

use crate::support::{counters, mark};

/// Collectors.
const HERD: usize = 500;
/// Leaves room for them.
const ARGUMENTS: [&str; 4] = ["--max-watchers", "600", "--principal-share", "100"];
/// Exits on each CPU while nobody is there to read them.
const EXITS: usize = 500;
/// How often all of them come back.
const RETURNS: usize = 3;
/// What a collector may take of the agent's memory: what HTTP/2 buffers of a stream for a socket that
/// is full (400 KiB, the default of hyper), if the collectors together are slow.
const COLLECTOR_KIB: u64 = 400;

/// Five hundred collectors resume at once after each restart, and none has lost or been told anything
/// twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_herd_that_comes_back_loses_nothing() -> Result<()> {
    let _lock = MachineLock::exclusive()?;
    let mut manager = ServiceManager::new(ARGUMENTS)?;
    manager.start().await?;
    let url = manager.url();
    let mut herd = Vec::new();
    for _ in 0..HERD {
        herd.push(Follower::open(&connect(&url).await?, Selection::EVERYTHING).await?);
    }
    for _ in 0..RETURNS {
        let (stopped, left) = tokio::join!(manager.stop(), scatter(herd));
        // Whoever has not read its last cursor by the deadline of a hand-over is cut off, on a busy
        // machine, and comes back all the same.
        assert!(stopped?.code().is_some(), "{}", manager.stderr()?);
        let churned = end_all(start_churn(EXITS)?).await?;
        manager.start().await?;
        let before = Vitals::begin(manager.pid()?)?;
        herd = gather(&url, left?, churned).await?;
        assert_eq!(counters(&url).await?.watchers, u32::try_from(HERD)?);
        let after = Vitals::of(manager.pid()?)?;
        println!("{HERD} came back: {before}, then {after}");
        let most = before.resident_kib + u64::try_from(HERD)? * COLLECTOR_KIB;
        assert!(after.peak_kib <= most, "{} KiB, allowed {most}", after.peak_kib);
    }
    drop(herd);
    process::rests(manager.pid()?).await?;
    assert!(manager.stop().await?.success());
    Ok(())
}

/// Has all of them read to the end of their streams.
async fn scatter(herd: Vec<Follower>) -> Result<Vec<Detached>> {
    let mut ending = JoinSet::new();
    for mut follower in herd {
        ending.spawn(async move { follower.end().await.map(|_| follower.leave()) });
    }
    ending.join_all().await.into_iter().collect()
}

/// Resumes; tries again, as it is told, while too many do so at once.
async fn come_back(url: &str, left: Detached) -> Result<Follower> {
    let channel = connect(url).await?;
    let reopened = within("a place in the herd", async {
        loop {
            match left.reopen(&channel).await {
                Err(error) => sleep(retry_after(&error).ok_or(error)?).await,
                Ok(reopened) => return anyhow::Ok(reopened),
            }
        }
    });
    let (follower, earlier) = reopened.await??.follow(left);
    ensure!(earlier.is_none(), "another run: nothing was handed over");
    Ok(follower)
}

fn retry_after(error: &anyhow::Error) -> Option<Duration> {
    let status = error.downcast_ref::<Status>()?;
    status.get_error_details().retry_info()?.retry_delay
}

/// Has all of them come back at once and read to the same place.
async fn gather(url: &str, left: Vec<Detached>, churned: Vec<u32>) -> Result<Vec<Follower>> {
    let mut coming = JoinSet::new();
    for left in left {
        let url = url.to_owned();
        let churned = churned.clone();
        coming.spawn(async move {
            let mut follower = come_back(&url, left).await?;
            for pid in churned {
                follower.exit_of(pid).await?;
            }
            follower.stitched().ensure_complete()?;
            ensure!(follower.stitched().gaps().is_empty(), "{:?}", follower.stitched().gaps());
            anyhow::Ok(follower)
        });
    }
    let mut herd: Vec<Follower> = coming.join_all().await.into_iter().collect::<Result<_>>()?;
    // And now together, on streams that are all open.
    let mark = *mark().await?.last().context("no CPU")?;
    for follower in &mut herd {
        follower.exit_of(mark).await?;
    }
    Ok(herd)
}
