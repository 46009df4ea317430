//! Exits become watchable again when the obstacle is removed, without a restart.

use anyhow::{Context, Result};
use taskstats_proto::v1::{GetNodeRequest, WatchExitsRequest};
use taskstats_tests::agent::{Agent, Launch};
use taskstats_tests::binaries;
use taskstats_tests::client::{Client, connect};
use taskstats_tests::cpus;
use taskstats_tests::deadline::within;
use taskstats_tests::health::{AGENT, Health, SERVICE, health_of};
use taskstats_tests::machine_lock::MachineLock;
use taskstats_tests::process::{next_descriptor, set_descriptor_limit};
use taskstats_tests::watch::Watch;
use taskstats_tests::workload::Workload;
use tonic::Code;
use tonic_health::pb::health_check_response::ServingStatus;

use crate::support::{get_pid, refusal_in};

/// Root without its privileges: to change the limits of another user's process would need a
/// capability.
const AS_ROOT: [&str; 2] = ["--user", "0:0"];
/// Enough for an agent with a few connections.
const PLENTY: usize = 1024;

/// Without descriptors exits cannot be watched, and the health changes as soon as a call failed.
/// With new descriptors they can, without a call. Each change is logged once.
#[tokio::test]
async fn an_agent_whose_descriptors_ran_out_recovers_by_itself() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let agent = Agent::start_with(AS_ROOT).await?;
    let channel = connect(&agent.url()).await?;
    let mut client = Client::new(channel.clone());
    get_pid(&mut client, std::process::id()).await?;
    let mut health = Health::watch(&channel).await?;
    health.becomes(ServingStatus::Serving).await?;

    set_descriptor_limit(agent.pid()?, next_descriptor(agent.pid()?)?).await?;
    let refusal = refusal_in(Watch::open(&channel, WatchExitsRequest::default()).await)?;
    assert_eq!(refusal.code, Code::Internal, "{refusal:?}");
    health.becomes(ServingStatus::NotServing).await?;
    assert_eq!(health_of(&channel, AGENT).await?, ServingStatus::Serving);
    get_pid(&mut client, std::process::id()).await?;
    let node = client.get_node(GetNodeRequest {}).await?.into_inner();
    let exits = node.exits.context("no exits status")?;
    assert!(!exits.watchable && exits.reason.contains("open files"), "{exits:?}");
    assert!(exits.fix.contains("LimitNOFILE="), "{exits:?}");

    set_descriptor_limit(agent.pid()?, PLENTY).await?;
    health.becomes(ServingStatus::Serving).await?;
    assert_eq!(health_of(&channel, SERVICE).await?, ServingStatus::Serving);
    let mut watch = Watch::everything(&channel).await?;
    let ended = Workload::run(&["exit", "0"]).await?;
    watch.exit_of(ended.pid).await?;

    for reported in ["exits cannot be watched", "exits can be watched again"] {
        let stderr = agent.stderr()?;
        let lines = stderr.lines().filter(|line| line.contains(reported)).count();
        assert_eq!(lines, 1, "{reported}: {stderr}");
    }
    Ok(())
}

/// `--always-watch` starts to listen as soon as it can.
#[tokio::test]
async fn always_watch_starts_once_it_can() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let needed = next_descriptor(Agent::start_with(AS_ROOT).await?.pid()?)?;
    // One descriptor for the connection of the test, and too few to listen with, while the limit is low. The
    // start needs both for a moment, to restrict files.
    let few = format!("--nofile={}:", needed + 2);
    let low_nofile = binaries::low_nofile()?.display().to_string();
    let launch = Launch::new()?.listen_privately().arguments(AS_ROOT);
    let launch = launch.arguments(["--always-watch", "all"]);
    let agent = launch.wrapped(["prlimit", &few, &low_nofile]).start().await?;
    assert!(agent.stderr()?.contains("kept the soft limit of open files"), "{}", agent.stderr()?);
    let channel = connect(&agent.url()).await?;
    assert_eq!(health_of(&channel, SERVICE).await?, ServingStatus::NotServing);
    let mut client = Client::new(channel.clone());
    assert_eq!(watched_cpus(&mut client).await?, "");
    set_descriptor_limit(agent.pid()?, PLENTY).await?;
    within("all CPUs to be watched", async {
        while watched_cpus(&mut client).await? != cpus::possible_list()? {}
        anyhow::Ok(())
    })
    .await??;
    Health::watch(&channel).await?.becomes(ServingStatus::Serving).await
}

async fn watched_cpus(client: &mut Client) -> Result<String> {
    let node = client.get_node(GetNodeRequest {}).await?.into_inner();
    Ok(node.counters.context("no counters")?.watched_cpus)
}

/// With `--fail-fast` the agent also exits when exits become unwatchable later.
#[tokio::test]
async fn an_agent_with_fail_fast_ends_when_exits_become_unwatchable() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let mut agent = Agent::start_with(AS_ROOT.into_iter().chain(["--fail-fast"])).await?;
    let channel = connect(&agent.url()).await?;
    // The agent has accepted the connection when it responds.
    get_pid(&mut Client::new(channel.clone()), std::process::id()).await?;
    set_descriptor_limit(agent.pid()?, next_descriptor(agent.pid()?)?).await?;
    let refusal = refusal_in(Watch::open(&channel, WatchExitsRequest::default()).await)?;
    assert_eq!(refusal.code, Code::Internal, "{refusal:?}");
    assert_eq!(agent.ended().await?.code(), Some(1));
    let stderr = agent.stderr()?;
    assert!(stderr.lines().last().is_some_and(|line| line.contains("--fail-fast")), "{stderr}");
    Ok(())
}
