//! Restarts of the agent under a service manager, and without one.

mod always_watch;
mod rejected;

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use taskstats_proto::v1::watch_exits_response::Kind;
use taskstats_proto::v1::{
    Attribution, Cursor, GetNodeRequest, GetPidRequest, LostStage, WatchExitsRequest,
};
use taskstats_tests::client::{Client, connect};
use taskstats_tests::cpus;
use taskstats_tests::deadline::within;
use taskstats_tests::follower::Follower;
use taskstats_tests::gap_ranges::{ExitRange, reported, sent};
use taskstats_tests::kernel::ReferenceListener;
use taskstats_tests::machine_lock::MachineLock;
use taskstats_tests::selection::Selection;
use taskstats_tests::service_manager::ServiceManager;
use taskstats_tests::watch::Watch;
use taskstats_tests::workload::Workload;
use tonic::Code;

/// Exits that a workload makes on each CPU while the agent is restarted. It needs more time than
/// the restarts.
const EXITS: usize = 40_000;
/// Enough at full speed to overflow a small buffer many times.
const OVERFLOW_EXITS: usize = 2_000;
/// The number of restarts under one load.
const RESTARTS: usize = 3;
/// Exits on each CPU while no agent runs, in addition to those of the load.
const UNATTENDED_EXITS: usize = 100;
/// Large enough for all exits of a busy machine while no agent runs or the collector waits.
const LARGE_BUFFERS: [&str; 4] = ["--receive-buffer", "512MiB", "--history-bytes", "512MiB"];
/// The smallest receive buffer that the agent accepts: a few exits fill it.
const SMALL_BUFFER: [&str; 2] = ["--receive-buffer", "4KiB"];
/// The flags of an agent with defaults.
const NO_ARGUMENTS: [&str; 0] = [];

/// A collector that resumes across restarts under load receives every exit once, whether an agent
/// ran or not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn restarts_under_load_lose_and_repeat_nothing() -> Result<()> {
    let _lock = MachineLock::exclusive()?;
    let mut manager = ServiceManager::new(LARGE_BUFFERS)?;
    manager.start().await?;
    let mut collector =
        Follower::open(&connect(&manager.url()).await?, Selection::EVERYTHING).await?;
    let instance = collector.started().instance_id.clone();
    let mut expected = Vec::new();
    for _ in 0..RESTARTS {
        let loads = start_churns(EXITS)?;
        let (stopped, end) = tokio::join!(manager.stop(), collector.end());
        // On a busy machine the collector may not have read its last cursor by the drain deadline
        // of a hand-over, one second. Its connection is closed then, and it resumes all the same.
        let stopped = stopped?;
        ensure!(stopped.code().is_some(), "{stopped}: {}", manager.stderr()?);
        if stopped.success() {
            assert_eq!(end?.code(), Code::Unavailable);
        }
        assert_eq!(manager.stored()?, stored_names()?);
        expected.extend(end_churns(start_churns(UNATTENDED_EXITS)?, UNATTENDED_EXITS).await?);
        manager.start().await?;
        assert!(!manager.handover_file().exists(), "taken up, and still there");
        assert_eq!(manager.stored()?, [""; 0], "taken up, and still stored");
        collector = collector.leave().resume(&connect(&manager.url()).await?).await?;
        assert_eq!(collector.started().instance_id, instance, "{}", manager.stderr()?);
        let pids: Vec<_> = loads.iter().map(Workload::pid).collect();
        let (made, read) = tokio::join!(end_churns(loads, EXITS), read_all(&mut collector, &pids));
        read?;
        expected.extend(made?);
    }
    for (pid, _) in &expected {
        collector.exit_of(*pid).await?;
    }
    let stitched = collector.stitched();
    stitched.ensure_complete()?;
    assert_eq!(stitched.gaps(), [], "exits were lost");
    for (pid, exits) in expected {
        assert_eq!(stitched.exits().iter().filter(|exit| exit.tgid == pid).count(), exits);
    }
    Ok(())
}

/// A client that connects while no agent runs is served by the next one.
#[tokio::test]
async fn a_connection_waits_for_the_agent() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let mut manager = ServiceManager::new(NO_ARGUMENTS)?;
    for _ in 0..2 {
        let mut client = Client::new(connect(&manager.url()).await?);
        let call = client.get_pid(GetPidRequest { pid: std::process::id(), ..Default::default() });
        let (response, started) = tokio::join!(within("a response", call), manager.start());
        started?;
        assert!(response??.into_inner().stats.is_some());
        assert!(manager.stop().await?.success());
    }
    Ok(())
}

/// Exits that the kernel drops while no agent runs are counted exactly, and the manager keeps
/// sockets that have overflowed.
#[tokio::test]
async fn drops_between_two_runs_are_counted_exactly() -> Result<()> {
    let _lock = MachineLock::exclusive()?;
    let mut reference = ReferenceListener::open(&cpus::online()?)?;
    let mut manager = ServiceManager::new(SMALL_BUFFER)?;
    manager.start().await?;
    let mut watch = Watch::everything(&connect(&manager.url()).await?).await?;
    let cursor = watch.started().cursor.clone().context("no cursor")?;
    let begin = quiet_marks(&manager, &mut watch, 0).await?;
    let (stopped, end) = tokio::join!(manager.stop(), watch.end());
    assert!(stopped?.success(), "{}", manager.stderr()?);
    assert_eq!(end?.code(), Code::Unavailable);
    let before = watch.sequence_check()?.lost(LostStage::KernelSocket);
    end_churns(start_churns(OVERFLOW_EXITS)?, OVERFLOW_EXITS).await?;
    assert_eq!(manager.stored()?, stored_names()?, "the manager threw sockets away");
    manager.start().await?;
    // From before the restart, so that the history of both runs is read at once.
    let mut watch = resume(&manager, &cursor).await?;
    let end = quiet_marks(&manager, &mut watch, before).await?;
    let ranges = cpus::online()?.into_iter().zip(begin.into_iter().zip(end));
    let ranges: Vec<_> = ranges.map(|(cpu, (begin, end))| ExitRange { cpu, begin, end }).collect();
    let reported = reported(&watch, &ranges)?;
    assert_eq!(reported.total(), sent(&reference.take()?, &ranges)?, "{reported:?}");
    let sequence_check = watch.sequence_check()?;
    assert!(
        reported.lost > 0 && sequence_check.lost(LostStage::KernelSocket) > before,
        "{reported:?}"
    );
    assert_eq!(sequence_check.lost_total(), sequence_check.lost(LostStage::KernelSocket));
    sequence_check.ensure_counts_complete()
}

/// The filters attribute exits while no agent runs, and exits of the next run as before.
#[tokio::test]
async fn exits_of_the_restart_are_attributed() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let mut manager = ServiceManager::new(NO_ARGUMENTS)?;
    manager.start().await?;
    let mut watch = Watch::everything(&connect(&manager.url()).await?).await?;
    let cursor = watch.started().cursor.clone().context("no cursor")?;
    let mut pids = vec![Workload::run(&["exit", "0"]).await?.pid];
    watch.exit_of(pids[0]).await?;
    let (stopped, _) = tokio::join!(manager.stop(), watch.end());
    assert!(stopped?.success(), "{}", manager.stderr()?);
    pids.push(Workload::run(&["exit", "0"]).await?.pid);
    manager.start().await?;
    pids.push(Workload::run(&["exit", "0"]).await?.pid);
    let mut watch = resume(&manager, &cursor).await?;
    let mut cgroups = BTreeSet::new();
    for pid in pids {
        let event = watch.exit_of(pid).await?;
        assert_eq!(event.attribution(), Attribution::Exact, "{event:?}");
        cgroups.insert((event.hierarchy, event.cgroup_id));
    }
    assert_eq!(cgroups.len(), 1, "all are in the cgroup of this test: {cgroups:?}");
    Ok(())
}

/// Without a service manager there is no hand-over, and the restart is reported.
#[tokio::test]
async fn without_a_manager_the_restart_is_reported() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let mut manager = ServiceManager::new(NO_ARGUMENTS)?.without_notifications();
    manager.start().await?;
    let cursor = watch_one_exit(&manager).await?;
    assert!(manager.stop().await?.success());
    assert!(!manager.handover_file().exists(), "an unusable file");
    manager.start().await?;
    assert_restart_is_reported(&manager, &cursor).await
}

/// A killed run leaves nothing, not even what it took over itself.
#[tokio::test]
async fn after_a_kill_the_restart_is_reported() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let mut manager = ServiceManager::new(NO_ARGUMENTS)?;
    manager.start().await?;
    let cursor = watch_one_exit(&manager).await?;
    assert!(manager.stop().await?.success());
    manager.start().await?;
    manager.kill().await?;
    assert!(!manager.handover_file().exists(), "a file without its sockets");
    assert_eq!(manager.stored()?, [""; 0]);
    manager.start().await?;
    assert_restart_is_reported(&manager, &cursor).await
}

/// Watches one exit, and returns the cursor after it.
async fn watch_one_exit(manager: &ServiceManager) -> Result<Cursor> {
    let mut watch = Watch::everything(&connect(&manager.url()).await?).await?;
    let ended = Workload::run(&["exit", "0"]).await?;
    watch.exit_of(ended.pid).await?;
    let sequence = watch.sequence_check()?.position();
    Ok(Cursor { instance_id: watch.started().instance_id.clone(), sequence })
}

/// A client that resumes from a cursor of an earlier run first gets a loss without a count, and
/// then the exits of the new run.
async fn assert_restart_is_reported(manager: &ServiceManager, cursor: &Cursor) -> Result<()> {
    let mut watch = resume(manager, cursor).await?;
    assert_ne!(watch.started().instance_id, cursor.instance_id);
    let Some(Kind::Lost(lost)) = watch.next().await? else {
        anyhow::bail!("the restart was not reported");
    };
    assert_eq!((lost.stage(), lost.count), (LostStage::AgentRestart, None), "{lost:?}");
    let ended = Workload::run(&["exit", "0"]).await?;
    watch.exit_of(ended.pid).await?;
    assert_eq!(watch.losses().len(), 1, "{:?}", watch.losses());
    Ok(())
}

async fn resume(manager: &ServiceManager, cursor: &Cursor) -> Result<Watch> {
    let resume_after = Some(cursor.clone());
    let request = WatchExitsRequest { resume_after, ..WatchExitsRequest::default() };
    Watch::open(&connect(&manager.url()).await?, request).await
}

/// Makes a mark on each CPU, without drops between the first and the last one and without
/// unreported ones: the agent reports the drops of a CPU some time after it noticed them. Earlier
/// runs have reported `earlier` drops.
async fn quiet_marks(
    manager: &ServiceManager,
    watch: &mut Watch,
    earlier: u64,
) -> Result<Vec<u32>> {
    let mut client = Client::new(connect(&manager.url()).await?);
    loop {
        let noticed = drops_noticed(&mut client).await?;
        while watch.sequence_check()?.lost(LostStage::KernelSocket) < earlier + noticed {
            watch.next().await?.context("the stream ended before a loss")?;
        }
        let mut pids = Vec::new();
        for cpu in cpus::online()? {
            pids.push(watch.settled_mark(cpu).await?);
        }
        if drops_noticed(&mut client).await? == noticed {
            return Ok(pids);
        }
    }
}

/// Returns the number of drops of this run that the agent knows of.
async fn drops_noticed(client: &mut Client) -> Result<u64> {
    let node = client.get_node(GetNodeRequest {}).await?.into_inner();
    let lost = node.counters.context("no counters")?.lost;
    let kernel = lost.iter().find(|lost| lost.stage() == LostStage::KernelSocket);
    Ok(kernel.map(|lost| lost.count).unwrap_or_default())
}

/// Reads until these processes have ended.
async fn read_all(collector: &mut Follower, pids: &[u32]) -> Result<()> {
    for pid in pids {
        collector.exit_of(*pid).await?;
    }
    Ok(())
}

/// Returns the names of the descriptors that the manager stores of an agent that watches all CPUs.
fn stored_names() -> Result<Vec<String>> {
    let of_cpu = |cpu| [format!("exits-cpu-{cpu}"), format!("cgroups-cpu-{cpu}")];
    let mut names: Vec<_> = cpus::online()?.into_iter().flat_map(of_cpu).collect();
    names.sort();
    Ok(names)
}

/// One workload on each CPU.
fn start_churns(exits: usize) -> Result<Vec<Workload>> {
    let start = |cpu: &u32| {
        Workload::start(&["--cpu", &cpu.to_string(), "churn-threads", &exits.to_string()])
    };
    cpus::online()?.iter().map(start).collect()
}

/// Waits for workloads; returns the process of each, and how many of its tasks exited.
async fn end_churns(churns: Vec<Workload>, exits: usize) -> Result<Vec<(u32, usize)>> {
    let mut ended = Vec::new();
    for churn in churns {
        let churn = churn.end().await?;
        assert!(churn.status.success(), "{churn:?}");
        // The threads, and the process itself.
        ended.push((churn.pid, exits + 1));
    }
    Ok(ended)
}
