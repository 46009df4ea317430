//! Directories that cannot be written, when the agent starts and when it ends.

use std::fs;

use anyhow::{Context, Result};
use taskstats_proto::v1::{Cursor, LostStage, WatchExitsRequest};
use taskstats_tests::agent::Launch;
use taskstats_tests::client::connect;
use taskstats_tests::follower::Follower;
use taskstats_tests::machine_lock::MachineLock;
use taskstats_tests::mount::Tmpfs;
use taskstats_tests::selection::Selection;
use taskstats_tests::service_manager::ServiceManager;
use taskstats_tests::stitched_stream::StitchedStream;
use taskstats_tests::workload::Workload;
use tonic::Code;

use crate::followers;

/// Holds a page or two.
const FULL_SOON: &str = "8k";
/// Their history is larger.
const EXITS: usize = 1000;
/// The flags of an agent with defaults.
const NO_ARGUMENTS: [&str; 0] = [];

/// The log line of an agent that cannot write its hand-over.
const NOTHING_LEFT: &str = "handing over to the next run failed";

/// A disk that is full at the end costs the hand-over: it is logged, and collectors get a loss.
/// Runs hand over again as soon as there is space.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_costs_one_hand_over() -> Result<()> {
    let _lock = MachineLock::exclusive()?;
    let mut manager = ServiceManager::new(NO_ARGUMENTS)?;
    let disk = Tmpfs::mount(&manager.state_directory(), FULL_SOON)?;
    manager.start().await?;
    assert_not_handed_over(&mut manager, disk, "No space left").await?;
    assert_handed_over(&mut manager).await
}

/// A directory that became read-only costs the hand-over in the same way.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_only_state_directory_costs_one_hand_over() -> Result<()> {
    let _lock = MachineLock::exclusive()?;
    let mut manager = ServiceManager::new(NO_ARGUMENTS)?;
    let disk = Tmpfs::mount(&manager.state_directory(), FULL_SOON)?;
    manager.start().await?;
    disk.make_read_only()?;
    assert_not_handed_over(&mut manager, disk, "Read-only file system").await?;
    assert_handed_over(&mut manager).await
}

/// A socket in a directory that cannot be written is an error that names both.
#[tokio::test]
async fn a_read_only_runtime_directory_is_named() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let directory = tempfile::tempdir()?;
    let disk = Tmpfs::mount(directory.path(), FULL_SOON)?;
    disk.make_read_only()?;
    let socket = directory.path().join("agent.sock");
    let url = format!("unix://{}", socket.display());
    let ending = Launch::new()?.arguments(["--listen", &url]).run().await?;
    assert_eq!(ending.status.code(), Some(1), "{ending:?}");
    for part in [url.as_str(), "Read-only file system"] {
        assert!(ending.stderr.contains(part), "{}", ending.stderr);
    }
    assert!(!ending.stderr.contains("panicked"), "{}", ending.stderr);
    Ok(())
}

/// Ends the current run, which cannot write to `disk`, and checks what the next one reports.
async fn assert_not_handed_over(
    manager: &mut ServiceManager,
    disk: Tmpfs,
    reason: &str,
) -> Result<()> {
    let stitched = run_and_stop(manager).await?;
    let stderr = manager.stderr()?;
    assert!(stderr.contains(NOTHING_LEFT) && stderr.contains(reason), "{stderr}");
    assert_eq!(manager.stored()?, [""; 0], "sockets without their file");
    let detached = fs::read_dir(manager.state_directory())?.count();
    assert_eq!(detached, 0, "half a file was left behind");
    drop(disk);
    manager.start().await?;
    let mut back = resume(manager, stitched.cursor()).await?;
    let ended = Workload::run(&["exit", "0"]).await?;
    // The loss of the restart hides nothing: it precedes all exits of the new run.
    while !back.stitched().exits().iter().any(|exit| exit.pid == ended.pid) {
        assert!(back.next().await?, "the stream ended");
    }
    let gap = back.stitched().gaps().first().context("the restart was not reported")?;
    assert_eq!((gap.stage, gap.count), (LostStage::AgentRestart, None));
    Ok(())
}

/// Has the run that is there hand over to another one.
async fn assert_handed_over(manager: &mut ServiceManager) -> Result<()> {
    let stitched = run_and_stop(manager).await?;
    manager.start().await?;
    let mut back = resume(manager, stitched.cursor()).await?;
    assert_eq!(back.started().instance_id, stitched.instance(), "{}", manager.stderr()?);
    let ended = Workload::run(&["exit", "0"]).await?;
    back.exit_of(ended.pid).await?;
    assert_eq!(back.stitched().gaps(), []);
    Ok(())
}

/// Makes more exits than the disk could hold, and stops the agent.
async fn run_and_stop(manager: &mut ServiceManager) -> Result<StitchedStream> {
    let channel = connect(&manager.url()).await?;
    let mut follower = Follower::open(&channel, Selection::EVERYTHING).await?;
    for pid in followers::churn(EXITS).await? {
        follower.exit_of(pid).await?;
    }
    let (stopped, end) = tokio::join!(manager.stop(), follower.end());
    assert!(stopped?.success(), "{}", manager.stderr()?);
    assert_eq!(end?.code(), Code::Unavailable);
    Ok(follower.leave().stitched)
}

async fn resume(manager: &ServiceManager, cursor: Cursor) -> Result<Follower> {
    let request =
        WatchExitsRequest { resume_after: Some(cursor), ..Selection::EVERYTHING.request() };
    Follower::ask(&connect(&manager.url()).await?, Selection::EVERYTHING, request).await
}
