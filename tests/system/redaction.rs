//! Fields that some callers may not see.

use anyhow::{Context, Result};
use taskstats_proto::v1::batch_get_result::Result as Outcome;
use taskstats_proto::v1::{BatchGetRequest, GetTgidRequest, TaskStats};
use taskstats_tests::agent::Agent;
use taskstats_tests::client::{connect, service};
use taskstats_tests::machine_lock::MachineLock;
use taskstats_tests::watch::Watch;
use taskstats_tests::workload::Workload;

use crate::support::{get_pid, get_threads, identity, task};

/// Fields that an agent can redact.
const FIELDS: [&str; 4] = ["comm", "uid", "executable", "io"];

/// The statistics of a task from each method of the agent.
async fn accounts(url: &str) -> Result<Vec<(&'static str, TaskStats)>> {
    let mut client = service(url).await?;
    let mut watch = Watch::everything(&connect(url).await?).await?;
    let workload = Workload::waiting(&["threads", "1"]).await?;
    let pid = workload.pid();
    let mut accounts = vec![("GetPid", get_pid(&mut client, pid).await?)];
    let threads = get_threads(&mut client, pid).await?;
    accounts.extend(threads.into_iter().map(|thread| ("GetTgid", thread)));
    let batch = client
        .batch_get(BatchGetRequest { pids: vec![pid], tgids: Vec::new(), ..Default::default() })
        .await?;
    let result = batch.into_inner().results.pop().context("no result")?.result;
    let Some(Outcome::Stats(stats)) = result else { anyhow::bail!("the batch said {result:?}") };
    accounts.push(("BatchGet", stats));
    client
        .get_tgid(GetTgidRequest { tgid: pid, include_threads: false, ..Default::default() })
        .await?;
    workload.end().await?;
    accounts.push(("WatchExits", task(&watch.exit_of(pid).await?)?.clone()));
    Ok(accounts)
}

fn present(stats: &TaskStats) -> Result<Vec<&'static str>> {
    let identity = identity(stats)?;
    assert_eq!(identity.uid.is_some(), identity.gid.is_some(), "{identity:?}");
    let present = [
        identity.comm.is_some(),
        identity.uid.is_some(),
        stats.executable.is_some(),
        stats.io.is_some(),
    ];
    Ok(FIELDS.into_iter().zip(present).filter(|(_, is_there)| *is_there).map(|it| it.0).collect())
}

/// Each field, and all fields together, are absent from every response; the others stay.
#[tokio::test]
async fn redacted_fields_are_absent_everywhere() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let all = FIELDS.join(",");
    for redacted in FIELDS.into_iter().chain([all.as_str()]) {
        let agent = Agent::start_with(["--redact", redacted]).await?;
        let kept: Vec<_> = FIELDS.into_iter().filter(|field| !redacted.contains(field)).collect();
        let accounts = accounts(&agent.url()).await?;
        assert!(accounts.len() >= 5, "{accounts:?}");
        for (way, stats) in accounts {
            assert_eq!(present(&stats)?, kept, "{way} without {redacted}: {stats:?}");
            assert!(identity(&stats)?.pid.is_some(), "{way}: {stats:?}");
        }
    }
    Ok(())
}

/// A caller with the role sees everything, at the same time as others that do not.
#[tokio::test]
async fn the_details_role_sees_redacted_fields() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let arguments = ["--redact", "comm,uid,executable,io", "--allow", "uid:0=query,watch,details"];
    let agent = Agent::start_with(arguments.into_iter().chain([
        "--allow",
        "anonymous=query,watch",
        "--insecure",
        "--listen",
        "tcp://127.0.0.1:0",
    ]))
    .await?;
    for (way, stats) in accounts(&agent.url()).await? {
        assert_eq!(present(&stats)?, FIELDS, "{way}: {stats:?}");
    }
    // Both at once: the response to one caller must not reach the other.
    let mut seeing = Watch::everything(&connect(&agent.url()).await?).await?;
    let other = agent.listening_on("tcp://")?;
    let mut blind = Watch::everything(&connect(&other).await?).await?;
    let ended = Workload::run(&["exit", "0"]).await?;
    assert_eq!(present(task(&blind.exit_of(ended.pid).await?)?)?, [""; 0]);
    assert_eq!(present(task(&seeing.exit_of(ended.pid).await?)?)?, FIELDS);
    for (way, stats) in accounts(&other).await? {
        assert_eq!(present(&stats)?, [""; 0], "{way}: {stats:?}");
    }
    Ok(())
}
