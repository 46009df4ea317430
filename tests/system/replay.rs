//! Streams that begin with exits from the agent's history.

use anyhow::{Context, Result, bail};
use taskstats_proto::v1::{Cursor, WatchExitsRequest};
use taskstats_tests::agent::Agent;
use taskstats_tests::client::connect;
use taskstats_tests::follower::Follower;
use taskstats_tests::machine_lock::MachineLock;
use taskstats_tests::selection::Selection;
use taskstats_tests::stitched_stream::ObservedExit;
use tonic::transport::Channel;

use crate::followers;

/// Lets no exit be dropped by the kernel.
const RECEIVE_BUFFER: &str = "64MiB";
/// Exits to be replayed: several of the agent's chunks.
const EXITS: usize = 2000;
/// Numbers of exits to replay: one, some, about a chunk, more than there are.
const WANTED: [u32; 5] = [1, 7, 256, 1500, 100_000];
/// Tries to open a stream while no other process exits.
const ATTEMPTS: usize = 1000;

/// A replay begins with exactly the newest exits of the selection, in order, and continues with new
/// ones.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_newest_exits_come_first() -> Result<()> {
    let _lock = MachineLock::exclusive()?;
    let agent = Agent::start_with(["--receive-buffer", RECEIVE_BUFFER]).await?;
    let channel = connect(&agent.url()).await?;
    let mut reference = Follower::open(&channel, Selection::EVERYTHING).await?;
    followers::churn(EXITS).await?;
    for selection in Selection::kinds()? {
        for wanted in WANTED {
            let (newest, follower) = replay(&agent, &channel, &selection, wanted).await?;
            let mut followers = [follower];
            followers::catch_up(&mut reference, &mut followers).await?;
            followers::reconcile(reference.stitched(), &followers)?;
            let exits = reference.stitched().exits().iter();
            let in_history: Vec<&ObservedExit> =
                exits.filter(|exit| exit.sequence <= newest && selection.takes(exit)).collect();
            let expected = in_history.len().saturating_sub(usize::try_from(wanted)?);
            let [follower] = &followers;
            let first = follower.stitched().exits().first().context("the stream has no exits")?;
            assert_eq!(Some(&first), in_history.get(expected), "{wanted}: {selection}");
            assert!(follower.stitched().gaps().is_empty());
        }
    }
    Ok(())
}

/// A replay of an empty history has the exits that happen after it was opened.
#[tokio::test]
async fn a_replay_of_an_empty_history_has_new_exits() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let agent = Agent::start().await?;
    let channel = connect(&agent.url()).await?;
    let request = WatchExitsRequest { replay_last: 10, ..WatchExitsRequest::default() };
    let mut follower = Follower::ask(&channel, Selection::EVERYTHING, request).await?;
    let marks = followers::mark().await?;
    for pid in marks {
        follower.exit_of(pid).await?;
    }
    follower.stitched().ensure_complete()
}

/// A stream resumed from before the first exit and a replay of the whole history have the same
/// exits.
#[tokio::test]
async fn resuming_from_the_beginning_replays_all() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let agent = Agent::start().await?;
    let channel = connect(&agent.url()).await?;
    let mut first = Follower::open(&channel, Selection::EVERYTHING).await?;
    for pid in followers::mark().await? {
        first.exit_of(pid).await?;
    }
    let seen = first.leave().stitched;
    let instance_id = seen.cursor().instance_id;
    let resume_after = Some(Cursor { instance_id, sequence: seen.beginning() });
    for request in [
        WatchExitsRequest { resume_after, ..WatchExitsRequest::default() },
        WatchExitsRequest { replay_last: u32::MAX, ..WatchExitsRequest::default() },
    ] {
        let mut again = Follower::ask(&channel, Selection::EVERYTHING, request).await?;
        again.beyond(seen.position() - 1).await?;
        // A replay also has the exits between the registration and the first stream.
        let exits = again.stitched().exits().iter();
        let again_seen = exits.skip_while(|exit| exit.sequence <= seen.beginning());
        assert!(again_seen.take(seen.exits().len()).eq(seen.exits()), "{:?}", again.stitched());
    }
    Ok(())
}

/// Opens a stream while the newest exit is known; returns the sequence number of that exit.
async fn replay(
    agent: &Agent,
    channel: &Channel,
    selection: &Selection,
    wanted: u32,
) -> Result<(u64, Follower)> {
    for _ in 0..ATTEMPTS {
        let before = followers::newest(&agent.url()).await?;
        let request = WatchExitsRequest { replay_last: wanted, ..selection.request() };
        let follower = Follower::ask(channel, selection.clone(), request).await?;
        if followers::newest(&agent.url()).await? == before {
            return Ok((before, follower));
        }
    }
    bail!("other processes exit all the time")
}
