//! Registrations in the kernel end with the last watcher.

use anyhow::{Context, Result};
use taskstats_proto::v1::GetNodeRequest;
use taskstats_tests::agent::Agent;
use taskstats_tests::client::{Client, connect, service};
use taskstats_tests::cpus;
use taskstats_tests::deadline::within;
use taskstats_tests::kernel::{PortId, ReferenceListener, Socket, port_ids_of};
use taskstats_tests::machine_lock::MachineLock;
use taskstats_tests::watch::Watch;
use taskstats_tests::workload::Workload;

/// Makes an agent stop listening without a delay after the last watcher.
const NO_GRACE: [&str; 2] = ["--grace-period", "0s"];
/// Exits made on each CPU to find a registration that was left behind.
const PROBES: usize = 3;

/// After SIGTERM no registration of the agent is left: a socket with its port id receives no exits.
#[tokio::test]
async fn nothing_is_registered_after_the_end() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let mut agent = Agent::start().await?;
    let before = port_ids_of(agent.pid()?)?;
    let watch = Watch::everything(&connect(&agent.url()).await?).await?;
    let ports = listeners(&agent, &before)?;
    assert!(agent.stop().await?.success());
    drop(watch);
    assert_silent(&ports).await
}

/// When the last watcher has disconnected the agent stops listening, and reports so.
#[tokio::test]
async fn nothing_is_registered_after_the_last_watcher() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let agent = Agent::start_with(NO_GRACE).await?;
    let before = port_ids_of(agent.pid()?)?;
    let mut client = service(&agent.url()).await?;
    let channel = connect(&agent.url()).await?;
    let (first, last) = (Watch::everything(&channel).await?, Watch::everything(&channel).await?);
    let ports = listeners(&agent, &before)?;
    drop(first);
    assert_eq!(watched_cpus(&mut client).await?, cpus::possible_list()?);
    drop(last);
    within("the agent to stop listening", no_cpu_is_watched(&mut client)).await??;
    assert_silent(&ports).await
}

/// A watcher that connects after the last one left gets a new registration.
#[tokio::test]
async fn the_next_watcher_gets_a_new_registration() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let agent = Agent::start_with(NO_GRACE).await?;
    let mut client = service(&agent.url()).await?;
    let channel = connect(&agent.url()).await?;
    for _ in 0..2 {
        let mut watch = Watch::everything(&channel).await?;
        let ended = Workload::run(&["exit", "0"]).await?;
        watch.exit_of(ended.pid).await?;
        drop(watch);
        within("the agent to stop listening", no_cpu_is_watched(&mut client)).await??;
    }
    Ok(())
}

/// A watcher that reconnects soon finds the registration in place.
#[tokio::test]
async fn a_registration_stays_for_the_grace_period() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let agent = Agent::start_with(["--grace-period", "1h"]).await?;
    let before = port_ids_of(agent.pid()?)?;
    let channel = connect(&agent.url()).await?;
    let watch = Watch::everything(&channel).await?;
    let ports = listeners(&agent, &before)?;
    let instance = watch.started().instance_id.clone();
    drop(watch);
    let mut back = Watch::everything(&channel).await?;
    assert_eq!(listeners(&agent, &before)?, ports);
    assert_eq!(back.started().instance_id, instance);
    let ended = Workload::run(&["exit", "0"]).await?;
    back.exit_of(ended.pid).await?;
    Ok(())
}

/// Returns the port ids that the agent has opened since `before`.
fn listeners(agent: &Agent, before: &[PortId]) -> Result<Vec<PortId>> {
    let mut ports = port_ids_of(agent.pid()?)?;
    ports.retain(|port| !before.contains(port));
    assert_eq!(ports.len(), cpus::online()?.len(), "one socket for each CPU");
    Ok(ports)
}

/// Checks that no registration is left behind: a socket that binds to its port id would inherit it.
async fn assert_silent(ports: &[PortId]) -> Result<()> {
    let mut reference = ReferenceListener::open(&cpus::online()?)?;
    let heirs = ports.iter().map(|port| Socket::open_at(*port));
    let mut heirs = heirs.collect::<Result<Vec<_>>>()?;
    for cpu in cpus::online()?.repeat(PROBES) {
        Workload::run(&["--cpu", &cpu.to_string(), "exit", "0"]).await?;
    }
    assert!(reference.take()?.len() >= PROBES * cpus::online()?.len(), "nothing to be heard");
    for successor in &mut heirs {
        assert!(successor.try_receive()?.is_none(), "a listener was left behind");
    }
    Ok(())
}

/// Waits until the agent watches no CPU; each call gives the agent time to run.
async fn no_cpu_is_watched(client: &mut Client) -> Result<()> {
    while !watched_cpus(client).await?.is_empty() {}
    Ok(())
}

async fn watched_cpus(client: &mut Client) -> Result<String> {
    let node = client.get_node(GetNodeRequest {}).await?.into_inner();
    Ok(node.counters.context("no counters")?.watched_cpus)
}
