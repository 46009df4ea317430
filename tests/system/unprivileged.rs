//! The agent as an unprivileged user with one capability.

use anyhow::{Context, Result};
use taskstats_proto::v1::batch_get_result::Result as Outcome;
use taskstats_proto::v1::{BatchGetRequest, GetNodeRequest, GetTgidRequest};
use taskstats_tests::agent::Launch;
use taskstats_tests::binaries;
use taskstats_tests::client::{Client, connect};
use taskstats_tests::environments::{AS_USER, USER};
use taskstats_tests::health::{SERVICE, health_of};
use taskstats_tests::machine_lock::MachineLock;
use taskstats_tests::peer::Peer;
use taskstats_tests::watch::Watch;
use taskstats_tests::workload::Workload;
use tonic_health::pb::health_check_response::ServingStatus;

use crate::support::{get_pid, get_threads, identity};

/// Tasks of others, groups, batches, exits and the node are all there for it.
#[tokio::test]
async fn one_capability_is_enough() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let launch = Launch::new()?.listen_privately().wrapped(AS_USER).owned_by(USER)?;
    let agent = launch.start().await?;
    let channel = connect(&agent.url()).await?;
    let mut client = Client::new(channel.clone());
    assert_eq!(health_of(&channel, SERVICE).await?, ServingStatus::Serving);

    let own = get_pid(&mut client, agent.pid()?).await?;
    assert_eq!(identity(&own)?.uid, Some(USER));
    let workload = Workload::waiting(&["threads", "2"]).await?;
    let other = get_pid(&mut client, workload.pid()).await?;
    assert_eq!(identity(&other)?.uid, Some(0));
    assert_eq!(get_threads(&mut client, workload.pid()).await?.len(), 3);
    let request = GetTgidRequest { tgid: 1, include_threads: false, ..Default::default() };
    client.get_tgid(request).await?.into_inner().stats.context("process 1 without statistics")?;
    let request =
        BatchGetRequest { pids: vec![1, workload.pid()], tgids: vec![1], ..Default::default() };
    let results = client.batch_get(request).await?.into_inner().results;
    let answered = results.iter().filter(|it| matches!(it.result, Some(Outcome::Stats(_))));
    assert_eq!(answered.count(), 3, "{results:?}");

    let mut watch = Watch::everything(&channel).await?;
    let ended = Workload::run(&["exit", "0"]).await?;
    watch.exit_of(ended.pid).await?;
    let node = client.get_node(GetNodeRequest {}).await?.into_inner();
    assert!(node.exits.context("no exits status")?.watchable);
    assert!(node.taskstats_version > 0);
    Ok(())
}

/// Its doctor agrees.
#[tokio::test]
async fn the_doctor_passes_with_one_capability() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let program = binaries::taskstatsd()?;
    let program = program.to_str().context("a path that is not UTF-8")?;
    let (wrapper, arguments) = AS_USER.split_first().context("no wrapper")?;
    let words = arguments.iter().copied().chain([program, "doctor"]);
    let output = Peer::run(wrapper.as_ref(), words).await?;
    assert_eq!((output.code, output.stderr.as_str()), (Some(0), ""), "{output:?}");
    assert!(output.stdout.contains("✓ self-test"), "{output:?}");
    Ok(())
}
