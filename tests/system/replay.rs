//! Streams that begin with what the agent remembers.

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
/// Numbers to ask for: one, some, about a chunk, more than were made.
const WANTED: [u32; 5] = [1, 7, 256, 1500, 100_000];
/// How often an exit of another process may come between two looks at the agent.
const ATTEMPTS: usize = 1000;

/// Exactly the newest exits of the selection come first, in order, and then those that happen.
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
            let remembered = reference
                .stitched()
                .exits()
                .iter()
                .filter(|exit| exit.sequence <= newest && selection.takes(exit));
            let remembered: Vec<&ObservedExit> = remembered.collect();
            let expected = remembered.len().saturating_sub(usize::try_from(wanted)?);
            let [follower] = &followers;
            let told = follower.stitched().exits().first().context("nothing was told")?;
            assert_eq!(Some(&told), remembered.get(expected), "{wanted}: {selection}");
            assert!(follower.stitched().gaps().is_empty());
        }
    }
    Ok(())
}

/// A stream of the last exits when nothing was remembered is one of the exits to come.
#[tokio::test]
async fn nothing_is_replayed_of_an_empty_history() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let agent = Agent::start().await?;
    let channel = connect(&agent.url()).await?;
    let request = WatchExitsRequest { replay_last: 10, ..WatchExitsRequest::default() };
    let mut follower = Follower::ask(&channel, Selection::EVERYTHING, request).await?;
    assert_eq!(follower.stitched().position(), 0);
    let marks = followers::mark().await?;
    for pid in marks {
        follower.exit_of(pid).await?;
    }
    follower.stitched().ensure_complete()
}

/// A replay and a resumption from before the first exit are the same stream.
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
        let told = again.stitched().exits().iter().take(seen.exits().len());
        assert!(told.eq(seen.exits()), "{:?}", again.stitched());
    }
    Ok(())
}

/// Opens a stream at a moment when the newest exit is known.
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
    bail!("something exits all the time")
}
