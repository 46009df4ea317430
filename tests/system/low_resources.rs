//! An agent that lacks descriptors, CPUs or memory.

use anyhow::{Context, Result};
use taskstats_tests::agent::{Agent, Launch};
use taskstats_tests::caller::Caller;
use taskstats_tests::cgroup::MemoryGroup;
use taskstats_tests::client::{connect, service};
use taskstats_tests::cpus;
use taskstats_tests::follower::Follower;
use taskstats_tests::gap_ranges::{ExitRange, reported, sent};
use taskstats_tests::http2::Raw;
use taskstats_tests::kernel::ReferenceListener;
use taskstats_tests::machine_lock::MachineLock;
use taskstats_tests::process::{self, Vitals};
use taskstats_tests::selection::Selection;
use taskstats_tests::watch::Watch;
use taskstats_tests::workload::Workload;

use crate::followers;
use crate::support::{get_pid, refusal_in};

/// The user of the agent, because only that user may lower its limits.
const AS_ROOT: [&str; 2] = ["--user", "0:0"];
/// Fewer than the agent had at its start, when it computed its connection limit.
const FEW_DESCRIPTORS: usize = 64;
/// More connections than that.
const CONNECTIONS: usize = 100;
/// Responses to a client that was connected before.
const ANSWERS: u64 = 200;
/// The CPU time for serving it and rejecting the others, in ticks of 10 ms: ten times what a debug
/// build needs.
const SPENT_TICKS: u64 = 100;

/// Exits on each CPU.
const EXITS: usize = 10_000;

/// The size of the history, MiB.
const HISTORY_MIB: u64 = 8;
/// Memory for everything else, MiB: the program, which is large in a debug build, and the
/// connections of a few watchers.
const REST_MIB: u64 = 8;
/// Exits: twice as many as the history holds.
const HISTORY_EXITS: usize = 120_000;

/// Without descriptors the agent serves its connected clients and rejects others without spinning,
/// and recovers when descriptors are available again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_without_descriptors_serves_and_recovers() -> Result<()> {
    let _lock = MachineLock::exclusive()?;
    let agent = Launch::new()?
        .listen_privately()
        .arguments(["--grace-period", "0s"])
        // More than there are descriptors for.
        .arguments(["--max-connections", "1024"])
        .arguments(AS_ROOT)
        .start()
        .await?;
    let pid = agent.pid()?;
    process::set_descriptor_limit(pid, FEW_DESCRIPTORS).await?;
    let channel = connect(&agent.url()).await?;
    // The agent opens some files once, now.
    drop(Watch::everything(&channel).await?);
    get_pid(&mut service(&agent.url()).await?, pid).await?;
    followers::counters(&agent.url()).await?;
    process::becomes_idle(pid).await?;
    let before = Vitals::begin(pid)?;

    let mut caller = Caller::start(&agent.url()).await?;
    let mut crowd = Vec::new();
    for _ in 0..CONNECTIONS {
        // The kernel accepts all connections; the agent cannot.
        crowd.push(Raw::connect(&agent.url()).await?);
    }
    caller.served(ANSWERS).await?;
    let refusal = refusal_in(Watch::everything(&channel).await)?;
    println!("a watcher without descriptors: {refusal:?}");
    caller.stop().await?;
    process::becomes_idle(pid).await?;
    let without = Vitals::of(pid)?;
    println!("without descriptors: {before}, then {without}");
    // One that tries again without a pause becomes_idle, too, once its peers have been closed for
    // their silence.
    assert!(without.ticks - before.ticks < SPENT_TICKS, "{before} became {without}");
    let stderr = agent.stderr()?;
    assert!(stderr.contains("accepting a connection failed"), "{stderr}");

    drop(crowd);
    process::closes_descriptors(pid, before.descriptors).await?;
    get_pid(&mut service(&agent.url()).await?, pid).await?;
    let mut watch = Watch::everything(&channel).await?;
    let ended = Workload::run(&["exit", "0"]).await?;
    watch.exit_of(ended.pid).await?;
    drop(watch);
    process::closes_descriptors(pid, before.descriptors).await?;
    // A thread that served a slow call waits for another one before it ends.
    process::ends_threads(pid, before.threads).await?;
    assert!(!agent.stderr()?.contains("panicked"), "{}", agent.stderr()?);
    Ok(())
}

/// On one CPU, shared with the tasks that exit, received and lost exits add up to those sent.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_on_one_cpu_accounts_for_every_exit() -> Result<()> {
    let _lock = MachineLock::exclusive()?;
    let cpus = cpus::online()?;
    let one = cpus.first().context("no CPU")?.to_string();
    let mut reference = ReferenceListener::open(&cpus)?;
    let agent = Launch::new()?.listen_privately().wrapped(["taskset", "-c", &one]).start().await?;
    let mut watch = Watch::everything(&connect(&agent.url()).await?).await?;
    let begin = marks(&mut watch, &cpus).await?;
    followers::churn(EXITS * cpus.len()).await?;
    let end = marks(&mut watch, &cpus).await?;
    let ranges = cpus.iter().zip(begin.into_iter().zip(end));
    let ranges: Vec<_> =
        ranges.map(|(cpu, (begin, end))| ExitRange { cpu: *cpu, begin, end }).collect();
    let reported = reported(&watch, &ranges)?;
    println!("on one CPU: {reported:?}");
    assert_eq!(reported.total(), sent(&reference.take()?, &ranges)?, "{reported:?}");
    assert!(reported.received > 0, "{reported:?}");
    watch.sequence_check()?.ensure_counts_complete()
}

async fn marks(watch: &mut Watch, cpus: &[u32]) -> Result<Vec<u32>> {
    let mut marks = Vec::new();
    for cpu in cpus {
        marks.push(watch.settled_mark(*cpu).await?);
    }
    Ok(marks)
}

/// A history that fills and is overwritten stays in the memory that was meant for it, so that a
/// limit close above it does not kill the agent.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_memory_limit_above_the_history_is_kept() -> Result<()> {
    let _lock = MachineLock::exclusive()?;
    let group = MemoryGroup::new("history", (HISTORY_MIB + REST_MIB) << 20)?;
    let mut agent = Launch::new()?
        .listen_privately()
        .arguments(["--history-bytes", &format!("{HISTORY_MIB}MiB")])
        .wrapped(group.wrapper())
        .start()
        .await?;
    fill(&agent).await?;
    let vitals = Vitals::of(agent.pid()?)?;
    println!("a full history: {vitals}; the group held {} KiB", group.peak()? / 1024);
    assert_eq!(group.kills()?, 0);
    assert!(agent.stop().await?.success());
    Ok(())
}

/// Makes more exits than the history holds, while one watcher reads them and another one does not.
async fn fill(agent: &Agent) -> Result<()> {
    let mut reference =
        Follower::open(&connect(&agent.url()).await?, Selection::EVERYTHING).await?;
    let stalled = Follower::open(&connect(&agent.url()).await?, Selection::EVERYTHING).await?;
    let mut followers = [stalled];
    followers::churn_watched(&mut reference, HISTORY_EXITS).await?;
    followers::catch_up(&mut reference, &mut followers).await?;
    followers::reconcile(reference.stitched(), &followers)?;
    let overtaken = !followers[0].stitched().gaps().is_empty();
    assert!(overtaken, "the history never overflowed");
    Ok(())
}
