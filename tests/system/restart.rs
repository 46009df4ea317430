//! Watchers that reconnect to another run of the agent.

use anyhow::{Context, Result, bail};
use taskstats_proto::v1::watch_exits_response::Kind;
use taskstats_proto::v1::{Cursor, LostStage, WatchExitsRequest};
use taskstats_tests::agent::Agent;
use taskstats_tests::client::connect;
use taskstats_tests::follower::Follower;
use taskstats_tests::machine_lock::MachineLock;
use taskstats_tests::selection::Selection;
use taskstats_tests::watch::Watch;
use taskstats_tests::workload::Workload;
use tonic::transport::Channel;

use crate::followers;

/// The smallest history that the agent accepts.
const SMALL_HISTORY: &str = "64KiB";
/// More exits than that history holds.
const TOO_MANY: usize = 4000;

/// Returns a cursor of a run that has ended.
async fn old_cursor() -> Result<Cursor> {
    let mut agent = Agent::start().await?;
    let mut watch = Watch::everything(&connect(&agent.url()).await?).await?;
    let ended = Workload::run(&["exit", "0"]).await?;
    watch.exit_of(ended.pid).await?;
    let instance_id = watch.started().instance_id.clone();
    let sequence = watch.sequence_check()?.position();
    assert!(agent.stop().await?.success());
    Ok(Cursor { instance_id, sequence })
}

async fn resume(channel: &Channel, cursor: Cursor) -> Result<Watch> {
    let request = WatchExitsRequest { resume_after: Some(cursor), ..WatchExitsRequest::default() };
    Watch::open(channel, request).await
}

/// Reads the next message, which must be a loss, and returns its stage, count and cursor.
async fn loss(watch: &mut Watch) -> Result<(LostStage, Option<u64>, u64)> {
    match watch.next().await? {
        Some(Kind::Lost(lost)) => {
            let cursor = lost.cursor.as_ref().context("no cursor")?;
            assert_eq!(cursor.instance_id, watch.started().instance_id);
            Ok((lost.stage(), lost.count, cursor.sequence))
        }
        other => bail!("not a loss: {other:?}"),
    }
}

/// After a restart the stream begins with a loss without a count, and then has every exit of the
/// new run.
#[tokio::test]
async fn a_restart_is_a_loss_and_then_the_whole_new_run() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let cursor = old_cursor().await?;
    let agent = Agent::start().await?;
    let channel = connect(&agent.url()).await?;
    let mut first = Watch::everything(&channel).await?;
    let ended = Workload::run(&["exit", "0"]).await?;
    first.exit_of(ended.pid).await?;
    drop(first);

    let mut back = resume(&channel, cursor.clone()).await?;
    assert_ne!(back.started().instance_id, cursor.instance_id);
    assert_eq!(loss(&mut back).await?, (LostStage::AgentRestart, None, 0));
    back.exit_of(ended.pid).await?;
    assert_eq!(back.losses().len(), 1);
    Ok(())
}

/// Exits that the new run has evicted already are counted by a second loss. A client that read only
/// the first loss can resume and gets the second.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exits_evicted_by_another_run_are_counted() -> Result<()> {
    let _lock = MachineLock::exclusive()?;
    let cursor = old_cursor().await?;
    let agent = Agent::start_with(["--history-bytes", SMALL_HISTORY]).await?;
    let channel = connect(&agent.url()).await?;
    let reference = Follower::open(&channel, Selection::EVERYTHING).await?;
    followers::churn(TOO_MANY).await?;
    drop(reference);

    let mut back = resume(&channel, cursor).await?;
    let (stage, count, after_restart) = loss(&mut back).await?;
    assert_eq!((stage, count), (LostStage::AgentRestart, None));
    let (stage, count, upto) = loss(&mut back).await?;
    assert_eq!((stage, count), (LostStage::History, Some(upto)));
    back.sequence_check()?.ensure_counts_complete()?;
    for mark in followers::mark().await? {
        back.exit_of(mark).await?;
    }

    let instance_id = back.started().instance_id.clone();
    let mut again = resume(&channel, Cursor { instance_id, sequence: after_restart }).await?;
    let (stage, count, upto) = loss(&mut again).await?;
    assert_eq!((stage, count), (LostStage::History, Some(upto)), "the loss is reported only once");
    Ok(())
}
