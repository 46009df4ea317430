//! Exits while there is no watcher.

use anyhow::{Context, Result};
use taskstats_proto::v1::{Cursor, GetNodeRequest, LostStage, WatchExitsRequest};
use taskstats_tests::agent::{Agent, Launch};
use taskstats_tests::client::{Client, connect};
use taskstats_tests::deadline::within;
use taskstats_tests::machine_lock::MachineLock;
use taskstats_tests::watch::Watch;
use taskstats_tests::workload::Workload;
use tonic::transport::Channel;

use crate::support::on_cpus;

/// Makes an agent record exits of all CPUs without a watcher.
const ALWAYS: [&str; 2] = ["--always-watch", "all"];
/// Makes an agent stop listening without a delay after the last watcher.
const NO_GRACE: [&str; 2] = ["--grace-period", "0s"];
/// More than exit in a test.
const ALL_EXITS: u32 = 1_000_000;
/// No CPU has this number.
const NO_SUCH_CPU: &str = "99999";

/// Exits before the first watcher of a run are recorded for it.
#[tokio::test]
async fn always_watched_exits_are_replayed_for_the_first_watcher() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let agent = Agent::start_with(ALWAYS).await?;
    let ended = Workload::run(&["exit", "0"]).await?;
    let request = WatchExitsRequest { replay_last: ALL_EXITS, ..WatchExitsRequest::default() };
    let mut watch = Watch::open(&connect(&agent.url()).await?, request).await?;
    watch.exit_of(ended.pid).await?;
    assert_eq!(watch.sequence_check()?.lost_total(), 0);
    Ok(())
}

/// CPUs that this machine cannot have are an error of the start, and the flag is named.
#[tokio::test]
async fn a_bad_list_of_cpus_to_always_watch_is_refused() -> Result<()> {
    let _lock = MachineLock::shared()?;
    for list in ["some", NO_SUCH_CPU, "3-"] {
        let launch = Launch::new()?.listen_privately().arguments(["--always-watch", list]);
        let ending = launch.run().await?;
        assert!(!ending.status.success(), "{list}");
        let named = ending.stderr.contains("--always-watch") && ending.stderr.contains(list);
        assert!(named, "{list}: {}", ending.stderr);
        assert!(!launch.socket().exists(), "the socket was left behind");
    }
    Ok(())
}

/// A stream resumed from before a time without listening gets a loss without a count; one resumed
/// from after it does not.
#[tokio::test]
async fn a_time_without_listening_is_a_loss_without_count() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let agent = Agent::start_with(NO_GRACE).await?;
    let channel = connect(&agent.url()).await?;
    let mut watch = Watch::everything(&channel).await?;
    let ended = Workload::run(&["exit", "0"]).await?;
    watch.exit_of(ended.pid).await?;
    let (instance_id, sequence) =
        (watch.started().instance_id.clone(), watch.sequence_check()?.position());
    drop(watch);
    within("the agent to stop listening", no_cpu_is_watched(&channel)).await??;
    let unseen = Workload::run(&["exit", "0"]).await?;

    let mut watch = resume(&channel, Cursor { instance_id, sequence }).await?;
    let seen = Workload::run(&["exit", "0"]).await?;
    watch.exit_of(seen.pid).await?;
    let [lost] = watch.losses() else { anyhow::bail!("reported: {:?}", watch.losses()) };
    assert_eq!((lost.stage(), lost.count), (LostStage::History, None), "{lost:?}");
    let pids = watch.seen().iter().filter_map(taskstats_tests::watch::pid_of);
    assert!(pids.clone().all(|pid| pid != unseen.pid), "a loss with a count: {}", unseen.pid);

    let behind = lost.cursor.clone().context("a loss without a cursor")?;
    let mut again = resume(&channel, behind).await?;
    again.exit_of(seen.pid).await?;
    assert_eq!(again.losses(), []);
    Ok(())
}

/// Resumes on all CPUs by an explicit cpumask: the sequence across a time without listening cannot
/// be checked.
async fn resume(channel: &Channel, after: Cursor) -> Result<Watch> {
    let request = WatchExitsRequest { resume_after: Some(after), ..on_cpus("all") };
    Watch::open(channel, request).await
}

/// Waits until the agent watches no CPU; each call gives the agent time to run.
async fn no_cpu_is_watched(channel: &Channel) -> Result<()> {
    let mut client = Client::new(channel.clone());
    loop {
        let node = client.get_node(GetNodeRequest {}).await?.into_inner();
        if node.counters.context("no counters")?.watched_cpus.is_empty() {
            return Ok(());
        }
    }
}
