//! The command line against the real agent.

use anyhow::{Context, Result};
use serde_json::Value;
use taskstats_tests::agent::Agent;
use taskstats_tests::binaries;
use taskstats_tests::machine_lock::MachineLock;
use taskstats_tests::peer::{Peer, ProgramOutput};
use taskstats_tests::workload::Workload;

use crate::support::NO_SUCH_TASK;

pub(crate) async fn taskstatsctl(url: &str, arguments: &[&str]) -> Result<ProgramOutput> {
    let all = ["--target", url].into_iter().chain(arguments.iter().copied());
    Peer::run(&binaries::taskstatsctl()?, all).await
}

/// A task is shown for people, and for programs.
#[tokio::test]
async fn a_task_is_printed() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let agent = Agent::start().await?;
    let workload = Workload::waiting(&["idle"]).await?;
    let pid = workload.pid().to_string();
    let output = taskstatsctl(&agent.url(), &["get", "pid", &pid]).await?;
    assert_eq!((output.code, output.stderr.as_str()), (Some(0), ""), "{output:?}");
    assert!(
        output.stdout.contains(&pid) && output.stdout.contains("workload"),
        "{}",
        output.stdout
    );
    let output = taskstatsctl(&agent.url(), &["get", "pid", &pid, "-o", "json"]).await?;
    assert_eq!(output.code, Some(0), "{output:?}");
    let document: Value = serde_json::from_str(&output.stdout)?;
    assert!(document.to_string().contains("workload"), "{document}");
    Ok(())
}

/// A process is shown with its threads.
#[tokio::test]
async fn a_process_is_printed_with_its_threads() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let agent = Agent::start().await?;
    let workload = Workload::waiting(&["threads", "2"]).await?;
    let pid = workload.pid().to_string();
    let output = taskstatsctl(&agent.url(), &["get", "tgid", &pid, "--threads"]).await?;
    assert_eq!(output.code, Some(0), "{output:?}");
    for entry in std::fs::read_dir(format!("/proc/{pid}/task"))? {
        let thread = entry?.file_name();
        let thread = thread.to_str().context("a thread that is not UTF-8")?;
        assert!(output.stdout.contains(thread), "{thread} is not in {}", output.stdout);
    }
    Ok(())
}

/// The node is shown.
#[tokio::test]
async fn the_node_is_printed() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let agent = Agent::start_with(["--node-name", "node-7"]).await?;
    let output = taskstatsctl(&agent.url(), &["node"]).await?;
    assert_eq!(output.code, Some(0), "{output:?}");
    assert!(output.stdout.contains("node-7"), "{}", output.stdout);
    Ok(())
}

fn watch(url: &str, arguments: &[&str]) -> Result<Peer> {
    let all = ["--target", url, "watch"].into_iter().chain(arguments.iter().copied());
    Peer::start(&binaries::taskstatsctl()?, all)
}

/// Exits are printed as they happen, one a line.
#[tokio::test]
async fn exits_are_watched() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let agent = Agent::start().await?;
    let mut peer = watch(&agent.url(), &["--scope", "processes", "-o", "jsonl"])?;
    peer.line_with("\"started\"").await?;
    let ended = Workload::run(&["exit", "7"]).await?;
    let line = peer.line_with(&format!("\"pid\":{}", ended.pid)).await?;
    let document: Value = serde_json::from_str(&line)?;
    let code = document.pointer("/event/task/exit/code");
    assert_eq!(code, Some(&Value::from(7)), "{document}");
    Ok(())
}

/// The command ends after the requested number of exits.
#[tokio::test]
async fn a_watch_ends_after_the_requested_exits() -> Result<()> {
    const WANTED: usize = 3;
    let _lock = MachineLock::shared()?;
    let agent = Agent::start().await?;
    let mut peer = watch(&agent.url(), &["-n", &WANTED.to_string(), "-o", "jsonl"])?;
    peer.line_with("\"started\"").await?;
    for _ in 0..WANTED {
        Workload::run(&["exit", "0"]).await?;
    }
    for _ in 0..WANTED {
        peer.line_with("\"event\"").await?;
    }
    assert_eq!(peer.end().await?, Some(0));
    Ok(())
}

/// A closed output pipe is no failure.
#[tokio::test]
async fn a_closed_output_pipe_is_no_failure() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let agent = Agent::start().await?;
    let mut peer = watch(&agent.url(), &["-o", "jsonl"])?;
    peer.line_with("\"started\"").await?;
    let (code, ended) = tokio::join!(peer.close_output(), Workload::run(&["exit", "0"]));
    assert_eq!((code?, ended?.status.success()), (Some(0), true));
    Ok(())
}

/// A watch that the agent ends has failed, because it has no end.
#[tokio::test]
async fn a_watch_fails_when_the_agent_ends() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let mut agent = Agent::start().await?;
    let mut peer = watch(&agent.url(), &["-o", "jsonl"])?;
    peer.line_with("\"started\"").await?;
    assert!(agent.stop().await?.success());
    assert_eq!(peer.end().await?, Some(1));
    Ok(())
}

/// A task that does not exist fails the command, with the agent's message.
#[tokio::test]
async fn a_missing_task_fails_the_command() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let agent = Agent::start().await?;
    let output = taskstatsctl(&agent.url(), &["get", "pid", &NO_SUCH_TASK.to_string()]).await?;
    assert!(output.code.is_some_and(|code| code > 0), "{output:?}");
    assert!(output.stderr.contains(&NO_SUCH_TASK.to_string()), "{}", output.stderr);
    assert_eq!(output.stdout, "");
    Ok(())
}

/// An agent that is not there is named.
#[tokio::test]
async fn an_unreachable_agent_is_named() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let directory = tempfile::tempdir()?;
    let url = format!("unix://{}", directory.path().join("nobody.sock").display());
    let output = taskstatsctl(&url, &["node"]).await?;
    assert!(output.code.is_some_and(|code| code > 0), "{output:?}");
    assert!(output.stderr.contains(&url), "{}", output.stderr);
    assert!(!output.stderr.contains("panicked"), "{}", output.stderr);
    Ok(())
}
