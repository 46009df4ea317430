//! Streams that begin with what the agent remembers.

use anyhow::{Context, Result, bail};
use taskstats_proto::v1::{Cursor, WatchExitsRequest};
use taskstats_tests::agent::Agent;
use taskstats_tests::client::connect;
use taskstats_tests::follow::Follower;
use taskstats_tests::load::Load;
use taskstats_tests::selection::Selection;
use taskstats_tests::trail::Trace;
use tonic::transport::Channel;

use crate::crowd;

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
    let _load = Load::heavy()?;
    let agent = Agent::start_with(["--receive-buffer", RECEIVE_BUFFER]).await?;
    let channel = connect(&agent.url()).await?;
    let mut witness = Follower::open(&channel, Selection::EVERYTHING).await?;
    crowd::churn(EXITS).await?;
    for selection in Selection::kinds()? {
        for wanted in WANTED {
            let (newest, follower) = replay(&agent, &channel, &selection, wanted).await?;
            let mut followers = [follower];
            crowd::catch_up(&mut witness, &mut followers).await?;
            crowd::reconcile(witness.trail(), &followers)?;
            let remembered = witness
                .trail()
                .exits()
                .iter()
                .filter(|exit| exit.sequence <= newest && selection.takes(exit));
            let remembered: Vec<&Trace> = remembered.collect();
            let expected = remembered.len().saturating_sub(usize::try_from(wanted)?);
            let [follower] = &followers;
            let told = follower.trail().exits().first().context("nothing was told")?;
            assert_eq!(Some(&told), remembered.get(expected), "{wanted}: {selection}");
            assert!(follower.trail().gaps().is_empty());
        }
    }
    Ok(())
}

/// A stream of the last exits when nothing was remembered is one of the exits to come.
#[tokio::test]
async fn nothing_is_replayed_of_an_empty_history() -> Result<()> {
    let _load = Load::light()?;
    let agent = Agent::start().await?;
    let channel = connect(&agent.url()).await?;
    let request = WatchExitsRequest { replay_last: 10, ..WatchExitsRequest::default() };
    let mut follower = Follower::ask(&channel, Selection::EVERYTHING, request).await?;
    assert_eq!(follower.trail().position(), 0);
    let marks = crowd::mark().await?;
    for pid in marks {
        follower.exit_of(pid).await?;
    }
    follower.trail().ensure_complete()
}

/// A replay and a resumption from before the first exit are the same stream.
#[tokio::test]
async fn resuming_from_the_beginning_replays_all() -> Result<()> {
    let _load = Load::light()?;
    let agent = Agent::start().await?;
    let channel = connect(&agent.url()).await?;
    let mut first = Follower::open(&channel, Selection::EVERYTHING).await?;
    for pid in crowd::mark().await? {
        first.exit_of(pid).await?;
    }
    let seen = first.leave().trail;
    let instance_id = seen.cursor().instance_id;
    let resume_after = Some(Cursor { instance_id, sequence: seen.beginning() });
    for request in [
        WatchExitsRequest { resume_after, ..WatchExitsRequest::default() },
        WatchExitsRequest { replay_last: u32::MAX, ..WatchExitsRequest::default() },
    ] {
        let mut again = Follower::ask(&channel, Selection::EVERYTHING, request).await?;
        again.beyond(seen.position() - 1).await?;
        let told = again.trail().exits().iter().take(seen.exits().len());
        assert!(told.eq(seen.exits()), "{:?}", again.trail());
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
        let before = crowd::newest(&agent.url()).await?;
        let request = WatchExitsRequest { replay_last: wanted, ..selection.request() };
        let follower = Follower::ask(channel, selection.clone(), request).await?;
        if crowd::newest(&agent.url()).await? == before {
            return Ok((before, follower));
        }
    }
    bail!("something exits all the time")
}
