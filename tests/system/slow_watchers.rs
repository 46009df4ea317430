//! Slow watchers that want their stream to end instead of a loss.

use anyhow::{Context, Result, bail};
use taskstats_proto::v1::watch_exits_response::Kind;
use taskstats_proto::v1::{LostStage, OnLag, WatchExitsRequest};
use taskstats_tests::agent::Agent;
use taskstats_tests::client::{connect, connect_narrowly};
use taskstats_tests::detailed_status::DetailedStatus;
use taskstats_tests::follower::Follower;
use taskstats_tests::machine_lock::MachineLock;
use taskstats_tests::selection::Selection;
use taskstats_tests::watch::Watch;
use tonic::Code;

use crate::followers;

/// Holds about 30,000 events.
const SMALL_HISTORY: &str = "4MiB";
/// Lets no exit be dropped by the kernel.
const RECEIVE_BUFFER: &str = "64MiB";
/// More than the history holds, and the sockets and windows on the way to a watcher.
const TOO_MANY: usize = 45_000;

/// A watcher that does not read gets its last cursor and the end of the stream; a client that
/// resumes there gets an exact loss.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_stream_can_end_instead_of_losing() -> Result<()> {
    let _lock = MachineLock::exclusive()?;
    let arguments = ["--history-bytes", SMALL_HISTORY, "--receive-buffer", RECEIVE_BUFFER];
    let agent = Agent::start_with(arguments).await?;
    let mut reference =
        Follower::open(&connect(&agent.url()).await?, Selection::EVERYTHING).await?;
    let request = WatchExitsRequest { on_lag: OnLag::Close.into(), ..WatchExitsRequest::default() };
    let mut slow = Watch::open(&connect_narrowly(&agent.url()).await?, request).await?;
    followers::churn_watched(&mut reference, TOO_MANY).await?;

    let mut last = None;
    while let Some(kind) = slow.next().await? {
        last = Some(kind);
    }
    let Some(Kind::Heartbeat(heartbeat)) = last else { bail!("it ended with {last:?}") };
    let cursor = heartbeat.cursor.context("no cursor")?;
    assert_eq!(cursor.sequence, slow.sequence_check()?.position());
    assert!(slow.losses().is_empty(), "{:?}", slow.losses());
    let refusal = DetailedStatus::from(&slow.end().await?);
    assert_eq!((refusal.code, refusal.retry), (Code::ResourceExhausted, true), "{refusal:?}");

    let log = agent.stderr()?;
    assert_eq!(log.lines().filter(|line| line.contains("--history-bytes")).count(), 1, "{log}");

    let place = cursor.sequence;
    let request = WatchExitsRequest { resume_after: Some(cursor), ..WatchExitsRequest::default() };
    let channel = connect(&agent.url()).await?;
    let mut back = [Follower::ask(&channel, Selection::EVERYTHING, request).await?];
    followers::catch_up(&mut reference, &mut back).await?;
    assert_eq!(followers::reconcile(reference.stitched(), &back)?, 0);
    let [gap] = back[0].stitched().gaps() else { bail!("{:?}", back[0].stitched().gaps()) };
    assert_eq!((gap.after, gap.stage), (place, LostStage::History));
    Ok(())
}
