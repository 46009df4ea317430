//! Followers of every kind of selection, and the reference stream that they are compared with.

use anyhow::{Context, Result, ensure};
use taskstats_proto::v1::{Counters, GetNodeRequest, GetNodeResponse};
use taskstats_tests::agent::Agent;
use taskstats_tests::churn;
use taskstats_tests::client::{connect, service};
use taskstats_tests::cpus;
use taskstats_tests::follower::{Detached, Follower};
use taskstats_tests::process;
use taskstats_tests::selection::Selection;
use taskstats_tests::stitched_stream::StitchedStream;
use taskstats_tests::workload::Workload;

/// Exits that the smallest history of these tests holds several times.
const STEP: usize = 5000;

/// Follows selections of every kind, each on a separate connection: unread streams would fill the
/// window of a shared connection and delay the others.
pub(crate) async fn open(url: &str) -> Result<Vec<Follower>> {
    let mut followers = Vec::new();
    for selection in Selection::kinds()? {
        followers.push(Follower::open(&connect(url).await?, selection).await?);
    }
    Ok(followers)
}

pub(crate) fn leave(followers: Vec<Follower>) -> Vec<Detached> {
    followers.into_iter().map(Follower::leave).collect()
}

pub(crate) async fn resume(url: &str, detached: Vec<Detached>) -> Result<Vec<Follower>> {
    let mut followers = Vec::new();
    for detached in detached {
        followers.push(detached.resume(&connect(url).await?).await?);
    }
    Ok(followers)
}

/// Ends about `threads` threads in all, on every CPU at once, and a process on each CPU; returns
/// the processes.
pub(crate) async fn churn(threads: usize) -> Result<Vec<u32>> {
    churn::end_all(start_churn(threads)?).await
}

/// Makes so many exits in steps that the reference reads, so that the history does not overtake it
/// on a busy machine.
pub(crate) async fn churn_watched(reference: &mut Follower, threads: usize) -> Result<()> {
    for _ in 0..threads.div_ceil(STEP) {
        for pid in churn(STEP).await? {
            // A loss is one of the kernel's, or fails the comparison.
            reference.exit_or_loss(pid).await?;
        }
    }
    Ok(())
}

/// Like [`churn_watched`], but the agent stands still during each step. It then receives the exits in few
/// large chunks, on a slow machine too.
pub(crate) async fn churn_in_bursts(
    agent: &Agent,
    reference: &mut Follower,
    threads: usize,
) -> Result<()> {
    for _ in 0..threads.div_ceil(STEP) {
        process::pause(agent.pid()?).await?;
        let ended = churn(STEP).await;
        process::continue_process(agent.pid()?)?;
        for pid in ended? {
            reference.exit_or_loss(pid).await?;
        }
    }
    Ok(())
}

/// Starts to end about `threads` threads in all, on every CPU at once.
pub(crate) fn start_churn(threads: usize) -> Result<Vec<Workload>> {
    churn::start_churn(threads / cpus::online()?.len())
}

/// Ends a thread and its process on each CPU; returns the processes.
pub(crate) async fn mark() -> Result<Vec<u32>> {
    let mut pids = Vec::new();
    for cpu in cpus::online()? {
        pids.push(mark_on(cpu).await?);
    }
    Ok(pids)
}

async fn mark_on(cpu: u32) -> Result<u32> {
    let workload = Workload::waiting(&["--cpu", &cpu.to_string(), "threads", "1"]).await?;
    Ok(workload.end().await?.pid)
}

/// Makes marks until the reference has received one of them, and returns its sequence number.
async fn seen_mark(reference: &mut Follower, cpu: u32) -> Result<u64> {
    loop {
        if let Some(sequence) = reference.exit_or_loss(mark_on(cpu).await?).await? {
            return Ok(sequence);
        }
    }
}

/// Reads every follower and the reference beyond all exits from before the call.
pub(crate) async fn catch_up(reference: &mut Follower, followers: &mut [Follower]) -> Result<()> {
    let mut now = 0;
    for cpu in cpus::online()? {
        now = now.max(seen_mark(reference, cpu).await?);
    }
    // Later exits for every selection.
    mark().await?;
    let mut last = now;
    for follower in followers {
        // The reference reads on, so that it is not overtaken meanwhile.
        while follower.stitched().position() <= now {
            let more = tokio::select! {
                more = follower.next() => more?,
                more = reference.next() => more?,
            };
            ensure!(more, "a stream ended");
        }
        last = last.max(follower.stitched().position());
    }
    while reference.stitched().position() < last {
        ensure!(reference.next().await?, "the reference stream ended");
    }
    Ok(())
}

/// Compares each follower with the reference; returns how many losses had no count.
pub(crate) fn reconcile(reference: &StitchedStream, followers: &[Follower]) -> Result<usize> {
    reference.ensure_complete()?;
    let mut uncounted = 0;
    for follower in followers {
        uncounted += follower.stitched().reconcile(follower.selection(), reference)?;
    }
    Ok(uncounted)
}

/// Returns the number of exits of a process's tasks.
pub(crate) fn exits_of(stitched: &StitchedStream, tgid: u32) -> usize {
    stitched.exits().iter().filter(|exit| exit.tgid == tgid).count()
}

pub(crate) async fn node(url: &str) -> Result<GetNodeResponse> {
    Ok(service(url).await?.get_node(GetNodeRequest {}).await?.into_inner())
}

pub(crate) async fn counters(url: &str) -> Result<Counters> {
    node(url).await?.counters.context("no counters")
}

/// Returns the sequence number of the newest exit that the agent has received.
pub(crate) async fn newest(url: &str) -> Result<u64> {
    Ok(node(url).await?.history.context("no history")?.last_sequence)
}
