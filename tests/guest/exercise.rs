//! The whole exercise, step by step.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use taskstats_proto::SERVICE_NAME;
use taskstats_proto::v1::{GetNodeRequest, GetNodeResponse};
use taskstats_tests::agent::Agent;
use taskstats_tests::client::{Client, connect};
use taskstats_tests::cpus;
use taskstats_tests::fields::Comparison;
use taskstats_tests::kernel::{Query, ReferenceListener};
use taskstats_tests::watch::Watch;
use tonic::transport::Channel;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::exits::{Tally, WRITE_PROTECT_COPY};
use crate::report::Report;
use crate::{captures, doctor, exits, live};

/// Tries the agent on the running kernel. Files that need storage go to `directory`.
pub(crate) async fn exercise(directory: &Path) -> Result<Report> {
    let mut reference = ReferenceListener::open(&cpus::online()?)?;
    let mut agent = Agent::start().await?;
    let channel = connect(&agent.url()).await?;
    healthy(&channel).await?;
    let node = node(&channel).await?;
    doctor::consult(&node.kernel_release, node.taskstats_version).await.context("doctor")?;
    let mut watch = Watch::everything(&channel).await?;
    // Only the reference listener has the exits before the stream began.
    reference.take()?;
    let mut comparison = Comparison::default();
    exits::make_some(directory).await?;
    let live = live::compare(&channel, &mut comparison).await.context("running tasks")?;
    let tally = exits::compare(&mut reference, &mut watch, &mut comparison).await;
    let Tally { exits, groups, has_waited } = tally.context("exits")?;
    ensure!(watch.sequence_check()?.lost_total() == 0, "exits were lost: {:?}", watch.losses());
    let can_wait = node.taskstats_version >= WRITE_PROTECT_COPY.1 && accounts_delays()?;
    ensure!(has_waited || !can_wait, "delays are accounted, but no exit of {exits} has any");
    let capture = captures::take(directory, &mut reference).await.context("capture")?;
    ensure!(agent.stop().await?.success(), "the agent ended badly: {}", agent.stderr()?);
    Ok(Report {
        struct_bytes: Query::open()?.pid(std::process::id())?.bytes().len(),
        release: node.kernel_release.clone(),
        version: node.taskstats_version,
        delay_accounting: node.delay_accounting().as_str_name(),
        exits,
        groups,
        live,
        comparison,
        capture,
        clock: None,
    })
}

async fn healthy(channel: &Channel) -> Result<()> {
    for service in ["", SERVICE_NAME] {
        let request = HealthCheckRequest { service: service.to_owned() };
        let health = HealthClient::new(channel.clone()).check(request).await?.into_inner();
        ensure!(health.status() == ServingStatus::Serving, "`{service}` is {:?}", health.status());
    }
    Ok(())
}

/// Checks the node's kernel against this one.
async fn node(channel: &Channel) -> Result<GetNodeResponse> {
    let node = Client::new(channel.clone()).get_node(GetNodeRequest {}).await?.into_inner();
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease")?;
    ensure!(node.kernel_release == release.trim_end(), "{}", node.kernel_release);
    ensure!(node.possible_cpus == cpus::possible_list()?, "{}", node.possible_cpus);
    ensure!(node.online_cpus == cpus::online_list()?, "{}", node.online_cpus);
    let version = Query::open()?.pid(std::process::id())?.version()?;
    ensure!(node.taskstats_version == version, "{}", node.taskstats_version);
    let exits = node.exits.as_ref().context("no exits status")?;
    ensure!(exits.watchable, "exits cannot be watched: {exits:?}");
    Ok(node)
}

/// Returns true if the kernel was booted with delay accounting on.
fn accounts_delays() -> Result<bool> {
    let line = std::fs::read_to_string("/proc/cmdline")?;
    Ok(line.split_whitespace().any(|word| word == "delayacct"))
}
