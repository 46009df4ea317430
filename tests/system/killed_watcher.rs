//! A watcher process that is killed or stopped in the middle of it all.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use taskstats_tests::agent::Agent;
use taskstats_tests::churn;
use taskstats_tests::client::connect;
use taskstats_tests::exit_log::ExitLog;
use taskstats_tests::follower::Follower;
use taskstats_tests::machine_lock::MachineLock;
use taskstats_tests::peer::Peer;
use taskstats_tests::process;
use taskstats_tests::selection::Selection;
use taskstats_tests::stitched_stream::StitchedStream;
use taskstats_tests::{binaries, cpus};
use tempfile::TempDir;

use crate::followers;

/// Exits made while the process is killed again and again.
const EXITS: usize = 200_000;
/// The number of kills.
const KILLS: usize = 8;
/// The process reports a thousand logged exits so many times before it is killed.
const REPORTS: usize = EXITS / 1000 / (KILLS + 1);
/// A history that holds all of them.
const LARGE_HISTORY: &str = "128MiB";
/// A history that holds about 30,000 of them.
const SMALL_HISTORY: &str = "4MiB";
/// Lets no exit be dropped by the kernel.
const RECEIVE_BUFFER: &str = "64MiB";

/// Exits while it stands still: as many as in some seconds at full speed.
const WHILE_STOPPED: usize = 45_000;

/// An exit log, and the process that writes it.
struct LogWriter {
    directory: TempDir,
    url: String,
}

impl LogWriter {
    fn new(agent: &Agent) -> Result<Self> {
        Ok(Self { directory: tempfile::tempdir()?, url: agent.url() })
    }

    async fn start(&self) -> Result<Peer> {
        let arguments = [Path::new(&self.url), &self.path()];
        let mut peer = Peer::start(&binaries::follower()?, arguments)?;
        peer.line_with("ready").await?;
        Ok(peer)
    }

    /// Lets the process log all exits up to now, and ends it.
    async fn finish(&self, mut peer: Peer) -> Result<StitchedStream> {
        let mut now = Follower::open(&connect(&self.url).await?, Selection::EVERYTHING).await?;
        for pid in followers::mark().await? {
            now.exit_of(pid).await?;
        }
        peer.say(&now.stitched().position().to_string()).await?;
        // The last lines, too, so that it is not held by a full pipe.
        while peer.line().await.is_ok() {}
        assert_eq!(peer.end().await?, Some(0));
        ExitLog::open(&self.path())?.stitched().cloned().context("an empty journal")
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("journal")
    }
}

/// Killed again and again, and started from the last exit that it wrote, the only watcher has each
/// exit once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_watcher_resumes_where_it_was() -> Result<()> {
    let _lock = MachineLock::exclusive()?;
    let arguments = ["--history-bytes", LARGE_HISTORY, "--receive-buffer", RECEIVE_BUFFER];
    let agent = Agent::start_with(arguments).await?;
    let writer = LogWriter::new(&agent)?;
    let mut peer = writer.start().await?;
    let workloads = followers::start_churn(EXITS)?;
    for _ in 0..KILLS {
        for _ in 0..REPORTS {
            peer.line_with("more").await?;
        }
        peer.kill().await?;
        peer = writer.start().await?;
    }
    let churns = churn::end_all(workloads).await?;
    let stitched = writer.finish(peer).await?;
    assert_eq!(stitched.gaps(), []);
    stitched.ensure_complete()?;
    for churn in churns {
        assert_eq!(followers::exits_of(&stitched, churn), EXITS / cpus::online()?.len() + 1);
    }
    Ok(())
}

/// A process that stands still while much exits loses nothing that the agent remembers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_watcher_loses_nothing_of_the_history() -> Result<()> {
    let _lock = MachineLock::exclusive()?;
    let stitched = stop_watcher(LARGE_HISTORY).await?;
    assert_eq!(stitched.gaps(), []);
    stitched.ensure_complete()
}

/// Exits that are evicted while a process is stopped are counted exactly, and the stream continues.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_watcher_gets_exact_losses() -> Result<()> {
    let _lock = MachineLock::exclusive()?;
    let stitched = stop_watcher(SMALL_HISTORY).await?;
    assert!(!stitched.gaps().is_empty(), "never overtaken");
    stitched.ensure_complete()
}

/// Stops a process for a while, compares its log with a reference stream, and returns the log.
async fn stop_watcher(history: &str) -> Result<StitchedStream> {
    let arguments = ["--history-bytes", history, "--receive-buffer", RECEIVE_BUFFER];
    let agent = Agent::start_with(arguments).await?;
    let mut reference =
        Follower::open(&connect(&agent.url()).await?, Selection::EVERYTHING).await?;
    let writer = LogWriter::new(&agent)?;
    let peer = writer.start().await?;
    process::pause(peer.pid()?).await?;
    followers::churn_watched(&mut reference, WHILE_STOPPED).await?;
    process::continue_process(peer.pid()?)?;
    let stitched = writer.finish(peer).await?;
    reference.beyond(stitched.position() - 1).await?;
    reference.stitched().ensure_complete()?;
    assert_eq!(stitched.reconcile(&Selection::EVERYTHING, reference.stitched())?, 0);
    Ok(stitched)
}
