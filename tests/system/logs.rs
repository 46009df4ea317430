//! The agent's log.

use std::fs;

use anyhow::{Context, Result};
use nix::unistd::Pid;
use serde_json::Value;
use taskstats_proto::v1::{BatchGetRequest, GetPidRequest, GetTgidRequest};
use taskstats_tests::agent::Agent;
use taskstats_tests::binaries;
use taskstats_tests::client::{connect, service};
use taskstats_tests::machine_lock::MachineLock;
use taskstats_tests::peer::Peer;
use taskstats_tests::watch::Watch;

use crate::support::{NO_SUCH_TASK, get_pid, identity, refused, task};

/// A command name that stands nowhere else; the kernel keeps 15 bytes of one.
const COMM: &str = "zquxjwvk";
/// Targets of the agent's own lines. Lines of HTTP/2 have numbers of streams and lengths, any of
/// which could equal a pid.
const OWN: &str = "taskstatsd";

/// Each line is an object. Each call has a line with caller, method, code and duration. No line has
/// statistics of a task, at any level.
#[tokio::test]
async fn calls_are_logged_and_statistics_are_not() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let mut agent = Agent::start_with(["--log", "trace", "--log-format", "json"]).await?;
    let directory = tempfile::tempdir()?;
    let program = directory.path().join(COMM);
    fs::copy(binaries::workload()?, &program)?;
    let mut watch = Watch::everything(&connect(&agent.url()).await?).await?;
    let mut peer = Peer::start(&program, ["idle"])?;
    peer.line().await?;
    let pid = peer.pid()?;
    let mut client = service(&agent.url()).await?;
    let comm = identity(&get_pid(&mut client, pid).await?)?.comm.clone();
    assert_eq!(comm.as_deref(), Some(COMM));
    client
        .get_tgid(GetTgidRequest { tgid: pid, include_threads: true, ..Default::default() })
        .await?;
    client
        .batch_get(BatchGetRequest { pids: vec![pid], tgids: vec![pid], ..Default::default() })
        .await?;
    refused(client.get_pid(GetPidRequest { pid: NO_SUCH_TASK, ..Default::default() }).await)?;
    nix::sys::signal::kill(Pid::from_raw(pid.try_into()?), nix::sys::signal::Signal::SIGKILL)?;
    let event = watch.exit_of(pid).await?;
    assert_eq!(identity(task(&event)?)?.comm.as_deref(), Some(COMM));
    drop((client, watch));
    agent.stop().await?;
    let log = agent.stderr()?;
    assert!(!log.contains(COMM), "{COMM} is in the log");
    let mut calls = Vec::new();
    for line in log.lines() {
        let entry: Value = serde_json::from_str(line).with_context(|| line.to_owned())?;
        let target = entry["target"].as_str().context("no target")?;
        if target.split(':').next() != Some(OWN) {
            continue;
        }
        let words = line.split(|c: char| !c.is_alphanumeric());
        for word in words {
            assert!(word != pid.to_string() && word != NO_SUCH_TASK.to_string(), "{line}");
        }
        if entry["message"] == "the call ended" {
            let span = &entry["span"];
            assert_eq!(span["principal"], "uid 0, gid 0", "{line}");
            assert!(entry["duration"].is_string(), "{line}");
            assert_eq!(entry["level"], "DEBUG", "{line}");
            calls.push((span["method"].to_string(), entry["code"].to_string()));
        }
    }
    for expected in
        [("GetPid", "Ok"), ("GetTgid", "Ok"), ("BatchGet", "Ok"), ("GetPid", "NotFound")]
    {
        let found = calls
            .iter()
            .any(|(method, code)| method.contains(expected.0) && code.contains(expected.1));
        assert!(found, "{expected:?} in {calls:?}");
    }
    assert!(calls.iter().any(|(method, _)| method.contains("WatchExits")), "{calls:?}");
    Ok(())
}

/// At the usual level, calls that go well leave no line.
#[tokio::test]
async fn calls_leave_no_lines_by_default() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let agent = Agent::start().await?;
    let before = agent.stderr()?;
    let mut client = service(&agent.url()).await?;
    get_pid(&mut client, std::process::id()).await?;
    refused(client.get_pid(GetPidRequest { pid: 0, ..Default::default() }).await)?;
    assert_eq!(agent.stderr()?, before);
    Ok(())
}

/// A caller that is refused repeatedly gets one line in the log, with the caller and the method.
#[tokio::test]
async fn a_caller_that_is_refused_cannot_fill_the_log() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let agent = Agent::start_with(["--max-call-rate", "1"]).await?;
    let mut client = service(&agent.url()).await?;
    for _ in 0..100 {
        drop(client.get_pid(GetPidRequest { pid: 1, ..Default::default() }).await);
    }
    let log = agent.stderr()?;
    let lines = log.lines().filter(|line| line.contains("--max-call-rate")).count();
    // The next line comes after ten seconds, which only the slowest machine needs for this.
    assert!((1..=12).contains(&lines), "{log}");
    assert!(log.contains("uid 0"), "{log}");
    Ok(())
}
