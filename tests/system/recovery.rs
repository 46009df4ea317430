//! What stops exits can go away again, and the agent notices by itself.

use anyhow::{Context, Result};
use taskstats_proto::v1::{GetNodeRequest, WatchExitsRequest};
use taskstats_tests::agent::{Agent, Launch};
use taskstats_tests::binaries;
use taskstats_tests::client::{Client, connect};
use taskstats_tests::cpus;
use taskstats_tests::deadline::within;
use taskstats_tests::health::{AGENT, Health, SERVICE, health_of};
use taskstats_tests::machine_lock::MachineLock;
use taskstats_tests::process::{limit_descriptors, next_descriptor};
use taskstats_tests::watch::Watch;
use taskstats_tests::workload::Workload;
use tonic::Code;
use tonic_health::pb::health_check_response::ServingStatus;

use crate::support::{get_pid, refusal_in};

/// Root that gave up its rights: the limits of another user's process would take a capability to change.
const AS_ROOT: [&str; 2] = ["--user", "0:0"];
/// Enough for an agent with a few connections.
const PLENTY: usize = 1024;

/// With no descriptors left, exits cannot be watched: the health says so as soon as somebody tried.
/// With new ones they can, without anybody asking. Each change is told once in the log.
#[tokio::test]
async fn an_agent_whose_descriptors_ran_out_recovers_by_itself() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let agent = Agent::start_with(AS_ROOT).await?;
    let channel = connect(&agent.url()).await?;
    let mut client = Client::new(channel.clone());
    get_pid(&mut client, std::process::id()).await?;
    let mut health = Health::watch(&channel).await?;
    health.becomes(ServingStatus::Serving).await?;

    limit_descriptors(agent.pid()?, next_descriptor(agent.pid()?)?).await?;
    let refusal = refusal_in(Watch::open(&channel, WatchExitsRequest::default()).await)?;
    assert_eq!(refusal.code, Code::Internal, "{refusal:?}");
    health.becomes(ServingStatus::NotServing).await?;
    assert_eq!(health_of(&channel, AGENT).await?, ServingStatus::Serving);
    get_pid(&mut client, std::process::id()).await?;
    let node = client.get_node(GetNodeRequest {}).await?.into_inner();
    let exits = node.exits.context("no word on exits")?;
    assert!(!exits.watchable && exits.reason.contains("open files"), "{exits:?}");
    assert!(exits.fix.contains("LimitNOFILE="), "{exits:?}");

    limit_descriptors(agent.pid()?, PLENTY).await?;
    health.becomes(ServingStatus::Serving).await?;
    assert_eq!(health_of(&channel, SERVICE).await?, ServingStatus::Serving);
    let mut watch = Watch::everything(&channel).await?;
    let ended = Workload::run(&["exit", "0"]).await?;
    watch.exit_of(ended.pid).await?;

    for told in ["exits cannot be watched", "exits can be watched again"] {
        let stderr = agent.stderr()?;
        let lines = stderr.lines().filter(|line| line.contains(told)).count();
        assert_eq!(lines, 1, "{told}: {stderr}");
    }
    Ok(())
}

/// What to always listen to is listened to as soon as it can be.
#[tokio::test]
async fn what_to_always_watch_is_watched_once_it_can_be() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let needed = next_descriptor(Agent::start_with(AS_ROOT).await?.pid()?)?;
    // One for the connection of the test, and none to listen with, as long as the limit stays low.
    let few = format!("--nofile={}:", needed + 1);
    let low_nofile = binaries::low_nofile()?.display().to_string();
    let launch = Launch::new()?.listen_privately().arguments(AS_ROOT);
    let launch = launch.arguments(["--always-watch", "all"]);
    let agent = launch.wrapped(["prlimit", &few, &low_nofile]).start().await?;
    assert!(agent.stderr()?.contains("kept the soft limit of open files"), "{}", agent.stderr()?);
    let channel = connect(&agent.url()).await?;
    assert_eq!(health_of(&channel, SERVICE).await?, ServingStatus::NotServing);
    let mut client = Client::new(channel.clone());
    assert_eq!(watched_cpus(&mut client).await?, "");
    limit_descriptors(agent.pid()?, PLENTY).await?;
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

/// Whoever prefers an end to a wait gets it when it turns bad later, too.
#[tokio::test]
async fn an_agent_that_fails_fast_ends_when_it_turns_bad() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let mut agent = Agent::start_with(AS_ROOT.into_iter().chain(["--fail-fast"])).await?;
    let channel = connect(&agent.url()).await?;
    // The agent has accepted it once it answers.
    get_pid(&mut Client::new(channel.clone()), std::process::id()).await?;
    limit_descriptors(agent.pid()?, next_descriptor(agent.pid()?)?).await?;
    let refusal = refusal_in(Watch::open(&channel, WatchExitsRequest::default()).await)?;
    assert_eq!(refusal.code, Code::Internal, "{refusal:?}");
    assert_eq!(agent.ended().await?.code(), Some(1));
    let stderr = agent.stderr()?;
    assert!(stderr.lines().last().is_some_and(|line| line.contains("--fail-fast")), "{stderr}");
    Ok(())
}
