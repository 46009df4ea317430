//! The privileges of the agent while it serves.

mod broker;
mod calls;
mod files;
mod injected;
mod users;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;

use anyhow::{Context, Result};
use taskstats_proto::v1::{GetNodeRequest, Sandbox};
use taskstats_tests::agent::Agent;
use taskstats_tests::client::{connect, service};
use taskstats_tests::machine_lock::MachineLock;
use taskstats_tests::watch::Watch;
use taskstats_tests::workload::Workload;

use crate::support::get_pid;

/// `CAP_NET_ADMIN`, which the broker has, as a bit, as procfs writes it.
const NET_ADMIN: &str = "0000000000001000";
/// No capability.
const NONE: &str = "0000000000000000";
/// The unprivileged user, and the group.
const NOBODY: &str = "65534:65534";

/// The fields that procfs shows of a thread.
type Status = BTreeMap<String, String>;

/// The status of each thread.
fn statuses(pid: u32) -> Result<Vec<Status>> {
    let threads = fs::read_dir(format!("/proc/{pid}/task"))?;
    threads
        .map(|thread| {
            let text = fs::read_to_string(thread?.path().join("status"))?;
            let fields = text.lines().filter_map(|line| line.split_once(':'));
            let words = |value: &str| value.split_whitespace().collect::<Vec<_>>().join(" ");
            Ok(fields.map(|(name, value)| (name.to_owned(), words(value))).collect())
        })
        .collect()
}

/// Asserts a field of all threads.
fn assert_all(statuses: &[Status], field: &str, expected: &str) {
    for status in statuses {
        let found = status.get(field).map(String::as_str);
        assert_eq!(found, Some(expected), "{field} of thread {:?}", status.get("Name"));
    }
}

/// The agent's own report.
async fn reported(agent: &Agent) -> Result<Sandbox> {
    let node = service(&agent.url()).await?.get_node(GetNodeRequest {}).await?;
    node.into_inner().sandbox.context("no sandbox status")
}

/// Uses the agent so that all its threads run: the event loop, the reader, and those of slow calls.
async fn use_all(agent: &Agent) -> Result<()> {
    let mut watch = Watch::everything(&connect(&agent.url()).await?).await?;
    let ended = Workload::run(&["exit", "0"]).await?;
    watch.exit_of(ended.pid).await?;
    let mut client = service(&agent.url()).await?;
    get_pid(&mut client, std::process::id()).await?;
    let request = taskstats_proto::v1::GetTgidRequest {
        tgid: std::process::id(),
        include_threads: true,
        ..Default::default()
    };
    let response = client.get_tgid(request).await?.into_inner();
    assert!(!response.threads.is_empty(), "the threads of others' processes are not seen");
    Ok(())
}

/// Started as root, the agent keeps no capability in any of its threads, and logs that.
#[tokio::test]
async fn an_agent_that_root_started_keeps_no_capability() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let agent = Agent::start_with(["--user", NOBODY]).await?;
    use_all(&agent).await?;
    let statuses = statuses(agent.pid()?)?;
    assert!(statuses.len() > 2, "{} threads", statuses.len());
    for ids in ["Uid", "Gid"] {
        assert_all(&statuses, ids, "65534 65534 65534 65534");
    }
    assert_all(&statuses, "Groups", "");
    for emptied in ["CapPrm", "CapEff", "CapInh", "CapBnd", "CapAmb"] {
        assert_all(&statuses, emptied, NONE);
    }
    for (field, value) in [("NoNewPrivs", "1"), ("Seccomp", "2"), ("Seccomp_filters", "2")] {
        assert_all(&statuses, field, value);
    }
    // The kernel gives the procfs files of an undumpable process to root.
    assert_eq!(fs::metadata(format!("/proc/{}/environ", agent.pid()?))?.uid(), 0, "dumpable");
    let reported = reported(&agent).await?;
    assert_eq!((reported.uid, reported.gid), (65534, 65534));
    assert!(reported.capabilities.is_empty(), "{reported:?}");
    assert!(reported.no_new_privs && reported.seccomp, "{reported:?}");
    let output = agent.stderr()?;
    assert!(output.contains("applied sandbox: user 65534:65534, capabilities none"), "{output}");
    Ok(())
}

/// Landlock is enforced as far as the kernel can, or the agent reports what is missing.
#[tokio::test]
async fn landlock_is_enforced_or_reported_as_missing() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let agent = Agent::start().await?;
    let reported = reported(&agent).await?;
    let missing = reported.gaps.iter().any(|gap| gap.contains("landlock"));
    assert_eq!(reported.landlock_version < 7, missing, "{reported:?}");
    assert_eq!(agent.stderr()?.contains("landlock version 7"), !missing, "{}", agent.stderr()?);
    Ok(())
}

/// `--no-sandbox` keeps all privileges, with a warning.
#[tokio::test]
async fn without_the_sandbox_no_privilege_is_dropped() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let agent = Agent::start_with(["--no-sandbox"]).await?;
    use_all(&agent).await?;
    let (own, statuses) = (statuses(std::process::id())?, statuses(agent.pid()?)?);
    for field in ["Uid", "Gid", "CapEff", "CapBnd", "NoNewPrivs", "Seccomp"] {
        assert_all(&statuses, field, &own[0][field]);
    }
    assert!(agent.stderr()?.contains("WARN"), "{}", agent.stderr()?);
    let reported = reported(&agent).await?;
    assert!(reported.gaps.iter().any(|gap| gap.contains("--no-sandbox")), "{reported:?}");
    Ok(())
}
