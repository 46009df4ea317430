//! Watchers that disconnect and resume.

use anyhow::{Context, Result};
use taskstats_proto::v1::LostStage;
use taskstats_tests::agent::Agent;
use taskstats_tests::client::connect;
use taskstats_tests::cpus;
use taskstats_tests::deadline::within;
use taskstats_tests::follower::{Detached, Follower};
use taskstats_tests::machine_lock::MachineLock;
use taskstats_tests::selection::Selection;
use taskstats_tests::stitched_stream::StitchedStream;

use crate::followers;

/// Exits while the watchers are connected, and as many while they are not: much less than a
/// history.
const SOME: usize = 4000;
/// Holds about 30,000 events of 140 bytes.
const SMALL_HISTORY: [&str; 2] = ["--history-bytes", "4MiB"];
/// More than a small history holds.
const TOO_MANY: usize = 45_000;
/// With bursts, this makes few and large chunks, so that the counts of all evicted exits are kept: they
/// have one part in 32 of the history's memory.
const SLOW_PACE: [&str; 2] = ["--pace", "10ms"];
/// Lets no exit be dropped by the kernel.
const LARGE_BUFFER: [&str; 2] = ["--receive-buffer", "64MiB"];

/// The position of a watcher when it disconnected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum StopPoint {
    /// At a cursor of the agent.
    Reported,
    /// At an exit in the middle of a batch.
    MidBatch,
}

impl StopPoint {
    /// Goes there.
    fn take(self, stitched: &mut StitchedStream) -> Result<()> {
        let exits = stitched.exits();
        let middle = exits.get(exits.len() / 2).context("no exits")?.sequence;
        if self == Self::MidBatch {
            stitched.cut(middle);
        }
        Ok(())
    }
}

/// After a time without watchers, the exits before and after it are complete, each once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn resuming_misses_and_repeats_nothing() -> Result<()> {
    let _lock = MachineLock::exclusive()?;
    for place in [StopPoint::Reported, StopPoint::MidBatch] {
        let agent = Agent::start_with(LARGE_BUFFER).await?;
        let channel = connect(&agent.url()).await?;
        let mut reference = Follower::open(&channel, Selection::EVERYTHING).await?;
        let mut followers = followers::open(&agent.url()).await?;
        let mut churns = followers::churn(SOME).await?;
        followers::catch_up(&mut reference, &mut followers).await?;

        let mut detached = followers::leave(followers);
        detached.iter_mut().try_for_each(|detached| place.take(&mut detached.stitched))?;
        let reference_detached = reference.leave();
        within("the watchers to disconnect", async {
            while followers::counters(&agent.url()).await?.watchers > 0 {}
            anyhow::Ok(())
        })
        .await??;
        assert_eq!(followers::counters(&agent.url()).await?.watched_cpus, cpus::possible_list()?);
        churns.extend(followers::churn(SOME).await?);

        let mut followers = followers::resume(&agent.url(), detached).await?;
        let mut reference = reference_detached.resume(&channel).await?;
        churns.extend(followers::churn(SOME).await?);
        followers::catch_up(&mut reference, &mut followers).await?;
        followers::reconcile(reference.stitched(), &followers)?;
        assert!(
            followers.iter().all(|follower| follower.stitched().gaps().is_empty()),
            "{place:?}"
        );
        for churn in churns {
            let made = SOME / cpus::online()?.len() + 1;
            assert_eq!(followers::exits_of(reference.stitched(), churn), made, "{place:?}");
        }
    }
    Ok(())
}

/// A watcher that resumes too late first gets the exact number of exits that it missed, for every
/// selection.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn resuming_too_late_is_an_exact_loss() -> Result<()> {
    let _lock = MachineLock::exclusive()?;
    let (reference, followers, detached) = resume_too_late(StopPoint::Reported).await?;
    assert_eq!(
        followers::reconcile(reference.stitched(), &followers)?,
        0,
        "a loss without its count"
    );
    ensure_lost_at_once(&followers, &detached)
}

/// From a position that was no cursor of the agent, the loss may have no count for a part of the
/// exits, but never a wrong one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_loss_after_a_position_within_a_batch_is_exact_or_without_count() -> Result<()> {
    let _lock = MachineLock::exclusive()?;
    let (reference, followers, detached) = resume_too_late(StopPoint::MidBatch).await?;
    followers::reconcile(reference.stitched(), &followers)?;
    ensure_lost_at_once(&followers, &detached)?;
    let everything = followers.first().context("no follower of all exits")?;
    assert_eq!(everything.selection(), &Selection::EVERYTHING);
    everything.stitched().ensure_complete()
}

/// Disconnects watchers of every kind, and resumes them when exits that they have not read are
/// evicted.
async fn resume_too_late(place: StopPoint) -> Result<(Follower, Vec<Follower>, Vec<Detached>)> {
    let agent = Agent::start_with([SMALL_HISTORY, SLOW_PACE, LARGE_BUFFER].concat()).await?;
    let mut reference =
        Follower::open(&connect(&agent.url()).await?, Selection::EVERYTHING).await?;
    let mut followers = followers::open(&agent.url()).await?;
    followers::churn(SOME).await?;
    followers::catch_up(&mut reference, &mut followers).await?;

    let mut detached = followers::leave(followers);
    detached.iter_mut().try_for_each(|detached| place.take(&mut detached.stitched))?;
    followers::churn_in_bursts(&agent, &mut reference, TOO_MANY).await?;

    let mut followers = followers::resume(&agent.url(), detached.clone()).await?;
    followers::catch_up(&mut reference, &mut followers).await?;
    Ok((reference, followers, detached))
}

/// Each has lost exits where it was detached. Tasks of others that exit while it catches up can push out
/// further ones.
fn ensure_lost_at_once(followers: &[Follower], detached: &[Detached]) -> Result<()> {
    for (follower, detached) in followers.iter().zip(detached) {
        let gaps = follower.stitched().gaps();
        let first = gaps.first().context("no loss")?;
        assert_eq!(first.after, detached.stitched.position(), "{}: {gaps:?}", detached.selection);
        for gap in gaps {
            assert_eq!((gap.stage, gap.cpu), (LostStage::History, None), "{gaps:?}");
            assert!(gap.upto > gap.after, "{gaps:?}");
        }
    }
    Ok(())
}
