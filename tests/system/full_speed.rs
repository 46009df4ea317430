//! Many exits at full speed, and watchers of different speed.

use std::collections::HashMap;

use anyhow::{Context, Result};
use taskstats_proto::v1::{ExitEvent, GetNodeRequest, LostStage};
use taskstats_tests::agent::Agent;
use taskstats_tests::client::{connect, connect_narrowly, service};
use taskstats_tests::cpus;
use taskstats_tests::gap_ranges::{ExitRange, reported, sent};
use taskstats_tests::kernel::{ReferenceListener, SeenExit};
use taskstats_tests::machine_lock::MachineLock;
use taskstats_tests::watch::Watch;
use taskstats_tests::workload::Workload;

/// All exits, distributed over the CPUs.
const EXITS: usize = 50_000;
/// The size for about 30,000 events of 140 bytes: much less than a watcher falls behind that does
/// not read.
const HISTORY: &str = "4MiB";
/// Lets no exit be dropped by the kernel, so that every loss of this test is one of the history.
const RECEIVE_BUFFER: &str = "64MiB";

/// Received and lost exits add up to those that were made, for watchers that keep up and for one
/// that does not read; the latter does not disturb the others.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_watcher_accounts_for_every_exit_at_full_speed() -> Result<()> {
    let _lock = MachineLock::exclusive()?;
    let mut reference = ReferenceListener::open(&cpus::online()?)?;
    let agent =
        Agent::start_with(["--history-bytes", HISTORY, "--receive-buffer", RECEIVE_BUFFER]).await?;
    let channel = connect(&agent.url()).await?;
    let mut fast = Watch::everything(&channel).await?;
    let mut other = Watch::everything(&connect(&agent.url()).await?).await?;
    let mut stalled = Watch::everything(&connect_narrowly(&agent.url()).await?).await?;

    let begin = mark_all(&mut fast).await?;
    read_all(&mut other, &begin).await?;
    // It reads no more until the load is over.
    read_all(&mut stalled, &begin).await?;

    let (workloads, exits_each) = start_churns()?;
    let pids: Vec<_> = workloads.iter().map(Workload::pid).collect();
    let (made, first, second) =
        tokio::join!(end_all(workloads), read_all(&mut fast, &pids), read_all(&mut other, &pids));
    made.and(first).and(second)?;
    let ranges = ranges(&begin, &mark_all(&mut fast).await?)?;
    let ends: Vec<_> = ranges.iter().map(|range| range.end).collect();
    read_all(&mut other, &ends).await?;
    read_all(&mut stalled, &ends).await?;

    let observed = reference.take()?;
    for pid in &pids {
        // The threads, and the process itself.
        assert_eq!(exits_sent(&observed, *pid)?, exits_each + 1);
    }
    for watch in [&fast, &other, &stalled] {
        assert_eq!(reported(watch, &ranges)?.total(), sent(&observed, &ranges)?);
        assert_eq!(watch.sequence_check()?.lost(LostStage::KernelSocket), 0);
    }
    assert!(stalled.sequence_check()?.lost(LostStage::History) > 0, "never overtaken");
    assert_same(&fast, &other);
    assert_same(&fast, &stalled);
    assert_counted(&agent, [&fast, &other, &stalled]).await
}

/// Two watchers have received the same events.
fn assert_same(one: &Watch, other: &Watch) {
    let known: HashMap<u64, &ExitEvent> = one.seen().iter().map(|e| (e.sequence, e)).collect();
    let shared = other.seen().iter().filter_map(|event| Some((known.get(&event.sequence)?, event)));
    for (known, event) in shared {
        assert_eq!(*known, event);
    }
}

/// The agent's counters have the same losses.
async fn assert_counted(agent: &Agent, watches: [&Watch; 3]) -> Result<()> {
    let mut client = service(&agent.url()).await?;
    let node = client.get_node(GetNodeRequest {}).await?.into_inner();
    let counters = node.counters.context("no counters")?;
    let history = counters.lost.iter().find(|lost| lost.stage() == LostStage::History);
    let mut reported = 0;
    for watch in watches {
        reported += watch.sequence_check()?.lost(LostStage::History);
    }
    assert_eq!(history.map(|lost| lost.count), Some(reported), "{counters:?}");
    assert_eq!(usize::try_from(counters.watchers)?, watches.len());
    Ok(())
}

/// A mark on each CPU.
async fn mark_all(watch: &mut Watch) -> Result<Vec<u32>> {
    let mut pids = Vec::new();
    for cpu in cpus::online()? {
        pids.push(watch.settled_mark(cpu).await?);
    }
    Ok(pids)
}

fn ranges(begin: &[u32], end: &[u32]) -> Result<Vec<ExitRange>> {
    let marks = begin.iter().zip(end);
    let ranges = cpus::online()?.into_iter().zip(marks);
    Ok(ranges.map(|(cpu, (begin, end))| ExitRange { cpu, begin: *begin, end: *end }).collect())
}

fn start_churns() -> Result<(Vec<Workload>, usize)> {
    let cpus = cpus::online()?;
    let each = EXITS / cpus.len();
    let start = |cpu: &u32| {
        Workload::start(&["--cpu", &cpu.to_string(), "churn-threads", &each.to_string()])
    };
    Ok((cpus.iter().map(start).collect::<Result<_>>()?, each))
}

async fn end_all(workloads: Vec<Workload>) -> Result<()> {
    for workload in workloads {
        let ended = workload.end().await?;
        assert!(ended.status.success(), "{ended:?}");
    }
    Ok(())
}

/// Reads until these processes have ended.
async fn read_all(watch: &mut Watch, pids: &[u32]) -> Result<()> {
    for pid in pids {
        watch.exit_of(*pid).await?;
    }
    Ok(())
}

fn exits_sent(sent: &[SeenExit], tgid: u32) -> Result<usize> {
    let mut count = 0;
    for exit in sent {
        count += usize::from(exit.tgid()? == tgid);
    }
    Ok(count)
}
