//! The end of the agent.

use anyhow::{Context, Result};
use nix::sys::signal::Signal;
use taskstats_proto::v1::watch_exits_response::Kind;
use taskstats_tests::agent::Agent;
use taskstats_tests::client::{connect, connect_narrowly, service};
use taskstats_tests::detailed_status::DetailedStatus;
use taskstats_tests::machine_lock::MachineLock;
use taskstats_tests::watch::Watch;
use taskstats_tests::workload::Workload;
use tonic::Code;

use crate::support::get_pid;

/// More bytes of events than the smallest HTTP/2 window and the socket's buffers hold.
const UNREAD_EXITS: &str = "10000";
/// The exit code of an agent that did not wait for a watcher.
const CUT_OFF: i32 = 1;

/// A watcher gets its last cursor and then the status of a shutdown; the process exits with 0.
#[tokio::test]
async fn watchers_get_their_last_cursor() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let mut agent = Agent::start().await?;
    let mut watch = Watch::everything(&connect(&agent.url()).await?).await?;
    let ended = Workload::run(&["exit", "0"]).await?;
    watch.exit_of(ended.pid).await?;
    agent.signal(Signal::SIGTERM)?;
    let mut last = None;
    while let Some(kind) = watch.next().await? {
        last = Some(kind);
    }
    let Some(Kind::Heartbeat(heartbeat)) = last else {
        anyhow::bail!("the stream ended with {last:?}");
    };
    let cursor = heartbeat.cursor.context("no cursor")?;
    assert_eq!(cursor.sequence, watch.sequence_check()?.position());
    let refusal = DetailedStatus::from(&watch.end().await?);
    assert_eq!((refusal.code, refusal.retry), (Code::Unavailable, true), "{refusal:?}");
    assert!(agent.ended().await?.success());
    assert!(!agent.socket().exists(), "the socket was left behind");
    Ok(())
}

/// SIGINT, which a terminal sends, ends the agent as SIGTERM does.
#[tokio::test]
async fn an_interrupt_ends_the_agent_with_success() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let mut agent = Agent::start().await?;
    get_pid(&mut service(&agent.url()).await?, std::process::id()).await?;
    agent.signal(Signal::SIGINT)?;
    assert!(agent.ended().await?.success());
    assert!(!agent.socket().exists(), "the socket was left behind");
    Ok(())
}

/// A watcher that does not read cannot hold the agent beyond the drain's deadline.
#[tokio::test]
async fn a_stalled_watcher_does_not_delay_the_agent() -> Result<()> {
    let _lock = MachineLock::exclusive()?;
    let mut agent = Agent::start_with(["--drain-timeout", "100ms"]).await?;
    let stalled = Watch::everything(&connect_narrowly(&agent.url()).await?).await?;
    Workload::run(&["churn-threads", UNREAD_EXITS]).await?;
    assert_eq!(agent.stop().await?.code(), Some(CUT_OFF));
    assert!(!agent.socket().exists(), "the socket was left behind");
    drop(stalled);
    Ok(())
}

/// A second signal ends an agent that waits for a watcher that does not read.
#[tokio::test]
async fn a_second_signal_ends_the_agent_at_once() -> Result<()> {
    let _lock = MachineLock::exclusive()?;
    let mut agent = Agent::start_with(["--drain-timeout", "1h"]).await?;
    let stalled = Watch::everything(&connect_narrowly(&agent.url()).await?).await?;
    Workload::run(&["churn-threads", UNREAD_EXITS]).await?;
    agent.signal(Signal::SIGTERM)?;
    agent.draining().await?;
    agent.signal(Signal::SIGTERM)?;
    assert_eq!(agent.ended().await?.code(), Some(CUT_OFF));
    drop(stalled);
    Ok(())
}
