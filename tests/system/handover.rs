//! Restarts of the agent under a service manager, and without one.

mod always_watch;
mod rejected;

use anyhow::{Context, Result};
use taskstats_proto::v1::watch_exits_response::Kind;
use taskstats_proto::v1::{Cursor, GetNodeRequest, GetPidRequest, LostStage, WatchExitsRequest};
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

/// Exits that a workload makes on each CPU while the agent is restarted. It takes longer than the
/// restarts.
const EXITS: usize = 40_000;
/// Enough at full speed to overflow a small buffer many times.
const OVERFLOW_EXITS: usize = 2_000;
/// How often the agent is restarted under one load.
const RESTARTS: usize = 3;
/// Exits made on each CPU while no agent runs, beside those of the load.
const UNATTENDED_EXITS: usize = 100;
/// Hold all exits while no agent runs, or the collector waits: also those of a busy machine.
const LARGE_BUFFERS: [&str; 4] = ["--receive-buffer", "512MiB", "--history-bytes", "512MiB"];
/// The smallest receive buffer that the agent takes: a few exits fill it.
const SMALL_BUFFER: [&str; 2] = ["--receive-buffer", "4KiB"];
/// What an agent takes that is started without more.
const NO_ARGUMENTS: [&str; 0] = [];

/// A collector that stays through restarts under load has every exit once, whoever ran at that time.
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
        assert!(stopped?.success(), "{}", manager.stderr()?);
        assert_eq!(end?.code(), Code::Unavailable);
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

/// Who connects while no agent runs is served by the next one.
#[tokio::test]
async fn a_connection_waits_for_the_agent() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let mut manager = ServiceManager::new(NO_ARGUMENTS)?;
    for _ in 0..2 {
        let mut client = Client::new(connect(&manager.url()).await?);
        let call = client.get_pid(GetPidRequest { pid: std::process::id(), ..Default::default() });
        let (answer, started) = tokio::join!(within("an answer", call), manager.start());
        started?;
        assert!(answer??.into_inner().stats.is_some());
        assert!(manager.stop().await?.success());
    }
    Ok(())
}

/// What the kernel drops while no agent runs is counted to the last exit, and the manager keeps
/// sockets that overflowed.
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
    let told = reported(&watch, &ranges)?;
    assert_eq!(told.total(), sent(&reference.take()?, &ranges)?, "{told:?}");
    let sequence_check = watch.sequence_check()?;
    assert!(told.lost > 0 && sequence_check.lost(LostStage::KernelSocket) > before, "{told:?}");
    assert_eq!(sequence_check.lost_total(), sequence_check.lost(LostStage::KernelSocket));
    sequence_check.ensure_counts_complete()
}

/// Without a service manager nothing is left behind, and the restart is told.
#[tokio::test]
async fn without_a_manager_the_restart_is_told() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let mut manager = ServiceManager::new(NO_ARGUMENTS)?.without_notifications();
    manager.start().await?;
    let cursor = watch_one_exit(&manager).await?;
    assert!(manager.stop().await?.success());
    assert!(!manager.handover_file().exists(), "a file that nobody can use");
    manager.start().await?;
    assert_restart_is_told(&manager, &cursor).await
}

/// A run that was killed leaves nothing, not even what it took up itself.
#[tokio::test]
async fn after_a_kill_the_restart_is_told() -> Result<()> {
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
    assert_restart_is_told(&manager, &cursor).await
}

/// Watches one exit, and returns the place after it.
async fn watch_one_exit(manager: &ServiceManager) -> Result<Cursor> {
    let mut watch = Watch::everything(&connect(&manager.url()).await?).await?;
    let ended = Workload::run(&["exit", "0"]).await?;
    watch.exit_of(ended.pid).await?;
    let sequence = watch.sequence_check()?.position();
    Ok(Cursor { instance_id: watch.started().instance_id.clone(), sequence })
}

/// Who resumes after a cursor of an earlier run is told first that nobody knows what happened
/// meanwhile, and is then served by another run.
async fn assert_restart_is_told(manager: &ServiceManager, cursor: &Cursor) -> Result<()> {
    let mut watch = resume(manager, cursor).await?;
    assert_ne!(watch.started().instance_id, cursor.instance_id);
    let Some(Kind::Lost(lost)) = watch.next().await? else {
        anyhow::bail!("the restart was not told");
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

/// A mark on each CPU, with no drop between the first and the last one, and none that is still to be
/// told: the agent tells the drops of a CPU some time after it noticed them. Runs before this one
/// told of `earlier` drops.
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

/// What the agent knows itself that the kernel dropped in this run.
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

/// What the manager stores of an agent that listens on all CPUs.
fn stored_names() -> Result<Vec<String>> {
    let mut names: Vec<_> =
        cpus::online()?.into_iter().map(|cpu| format!("exits-cpu-{cpu}")).collect();
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
