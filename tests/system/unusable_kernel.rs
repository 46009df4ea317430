//! The agent on kernels that must not be queried, or that lack taskstats for a while.

use std::sync::Arc;

use anyhow::{Context, Result};
use clap::Parser;
use taskstats_proto::v1::{GetNodeRequest, GetPidRequest, WatchExitsRequest};
use taskstats_tests::agent::Agent;
use taskstats_tests::client::{Client, connect};
use taskstats_tests::deadline::within;
use taskstats_tests::health::{AGENT, Health, SERVICE, health_of};
use taskstats_tests::machine_lock::MachineLock;
use taskstats_tests::watch::Watch;
use taskstatsd::agent::{Agent as AgentHere, Drained};
use taskstatsd::config::{Args, Config};
use taskstatsd::taskstats::LinuxKernel;
use tonic::Code;
use tonic_health::pb::health_check_response::ServingStatus;

use crate::support::{get_pid, refusal_in, refused};

/// A release whose kernel panics on a taskstats query.
const BAD: &str = "6.12.79-101.147.amzn2023.x86_64";
const RECEIVE_BUFFER: usize = 64 << 10;
/// A kernel whose taskstats disappear and return.
const COMING_AND_GOING: &str = "sim:cpus=2,rate=100,vanish=12s/5s";

/// On a kernel that a query could crash, all queries are refused with the cause, and the agent
/// stays up.
#[tokio::test]
async fn a_known_bad_kernel_is_not_queried() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let url = format!("unix://{}/agent.sock", directory.path().display());
    let args = Args::try_parse_from(["taskstatsd", "--listen", &url])?;
    let kernel = Arc::new(LinuxKernel::of_release(BAD.to_owned(), RECEIVE_BUFFER)?);
    let agent = AgentHere::bind_with(Config::try_from(args)?, Vec::new(), kernel).await?;
    let agent = agent.start().await?;
    let channel = connect(&url).await?;
    let mut client = Client::new(channel.clone());
    assert_eq!(health_of(&channel, AGENT).await?, ServingStatus::Serving);
    assert_eq!(health_of(&channel, SERVICE).await?, ServingStatus::NotServing);
    let query = refused(client.get_pid(GetPidRequest { pid: 1, ..Default::default() }).await)?;
    let watch = refusal_in(Watch::open(&channel, WatchExitsRequest::default()).await)?;
    for refusal in [query, watch] {
        assert_eq!(refusal.code, Code::FailedPrecondition, "{refusal:?}");
        assert_eq!(refusal.reason.as_deref(), Some("KNOWN_BAD_KERNEL"), "{refusal:?}");
        assert!(refusal.message.contains(BAD), "{refusal:?}");
        assert!(refusal.message.contains("--ignore-known-bad-kernel"), "{refusal:?}");
    }
    let node = client.get_node(GetNodeRequest {}).await?.into_inner();
    assert_eq!(node.taskstats_version, 0, "the kernel was queried");
    let exits = node.exits.context("no exits status")?;
    assert!(!exits.watchable && exits.reason.contains(BAD), "{exits:?}");
    assert!(exits.fix.contains("--ignore-known-bad-kernel"), "{exits:?}");
    drop((client, channel));
    assert_eq!(within("the agent's end", agent.drain()).await?, Drained::Complete);
    Ok(())
}

/// On a kernel without taskstats, queries are refused with a reason and advice, and one line is
/// logged. The agent notices by itself when they return, and logs that once.
#[tokio::test]
async fn a_kernel_whose_taskstats_return_is_served_again() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let agent = Agent::start_with(["--kernel", COMING_AND_GOING]).await?;
    let channel = connect(&agent.url()).await?;
    let mut client = Client::new(channel.clone());
    let mut health = Health::watch(&channel).await?;
    health.becomes(ServingStatus::Serving).await?;
    let query = within("taskstats to vanish", async {
        loop {
            if let Err(status) =
                client.get_pid(GetPidRequest { pid: 1, ..Default::default() }).await
            {
                return refused::<()>(Err(status));
            }
        }
    })
    .await??;
    let watch = refusal_in(Watch::open(&channel, WatchExitsRequest::default()).await)?;
    for refusal in [query, watch] {
        assert_eq!(refusal.code, Code::FailedPrecondition, "{refusal:?}");
        assert_eq!(refusal.reason.as_deref(), Some("NO_TASKSTATS"), "{refusal:?}");
        assert!(refusal.message.contains("CONFIG_TASKSTATS"), "{refusal:?}");
    }
    health.becomes(ServingStatus::NotServing).await?;
    let exits = client.get_node(GetNodeRequest {}).await?.into_inner().exits;
    let exits = exits.context("no exits status")?;
    assert!(!exits.watchable && exits.fix.contains("CONFIG_TASKSTATS"), "{exits:?}");

    health.becomes(ServingStatus::Serving).await?;
    let stderr = agent.stderr()?;
    for (level, reported) in
        [("WARN", "exits cannot be watched"), ("INFO", "exits can be watched again")]
    {
        let lines: Vec<_> = stderr.lines().filter(|line| line.contains(reported)).collect();
        assert!(lines.len() == 1 && lines[0].contains(level), "{reported}: {stderr}");
    }
    get_pid(&mut client, 1).await?;
    Ok(())
}
