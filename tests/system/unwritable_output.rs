//! Output that cannot be written: the log of the agent, and the output of commands.

use std::io;
use std::process::{ExitStatus, Stdio};

use anyhow::Result;
use nix::sys::signal::Signal;
use taskstats_tests::agent::{Agent, Launch};
use taskstats_tests::binaries;
use taskstats_tests::client::service;
use taskstats_tests::deadline::within;
use taskstats_tests::machine_lock::MachineLock;
use tokio::process::Command;

use crate::support::get_pid;

/// The exit code of an output that could not be written.
const FAILURE: i32 = 1;
/// Commands that print something and end.
const COMMANDS: [&[&str]; 6] = [
    &["--help"],
    &["--version"],
    &["doctor", "--output", "json"],
    &["completions", "bash"],
    &["help", "capture"],
    &["capture", "--seconds", "1"],
];

/// Starts an agent by a shell that redirects its standard error.
async fn agent_with(redirection: &str) -> Result<Agent> {
    let script = format!("exec \"$0\" \"$@\" {redirection}");
    Launch::new()?.listen_privately().wrapped(["bash", "-c", &script]).start().await
}

/// Has the agent log lines, and checks that it serves and drains all the same.
async fn logs_serves_and_drains(mut agent: Agent) -> Result<()> {
    for _ in 0..3 {
        // Without certificates, each is a line in the log.
        agent.signal(Signal::SIGHUP)?;
        get_pid(&mut service(&agent.url()).await?, std::process::id()).await?;
    }
    let status = agent.stop().await?;
    assert!(status.success(), "{status:?}");
    Ok(())
}

#[tokio::test]
async fn a_full_disk_below_the_log_does_not_end_the_agent() -> Result<()> {
    let _lock = MachineLock::shared()?;
    logs_serves_and_drains(agent_with("2>/dev/full").await?).await
}

/// The reader ends before the agent has started, or after its first line.
#[tokio::test]
async fn a_log_without_a_reader_does_not_end_the_agent() -> Result<()> {
    let _lock = MachineLock::shared()?;
    for reader in ["true", "head -1"] {
        let redirection = format!("2> >({reader} >/dev/null)");
        logs_serves_and_drains(agent_with(&redirection).await?).await?;
    }
    Ok(())
}

async fn run_with_stdout(arguments: &[&str], stdout: Stdio) -> Result<(ExitStatus, String)> {
    let mut command = Command::new(binaries::taskstatsd()?);
    command.args(arguments).stdin(Stdio::null()).stdout(stdout).stderr(Stdio::piped());
    // `Command::output` would replace the standard output.
    let child = command.kill_on_drop(true).spawn()?;
    let output = within("the command", child.wait_with_output()).await??;
    Ok((output.status, String::from_utf8(output.stderr)?))
}

/// A full disk and a closed pipe are reported by the exit code and by a message.
#[tokio::test]
async fn commands_report_an_output_that_cannot_be_written() -> Result<()> {
    let _lock = MachineLock::shared()?;
    for arguments in COMMANDS {
        let (reader, closed) = io::pipe()?;
        drop(reader);
        let full = std::fs::File::options().write(true).open("/dev/full")?;
        for stdout in [Stdio::from(full), Stdio::from(closed)] {
            let (status, stderr) = run_with_stdout(arguments, stdout).await?;
            assert_eq!(status.code(), Some(FAILURE), "{arguments:?}: {stderr}");
            assert!(stderr.contains("writ"), "{arguments:?}: {stderr}");
            assert!(!stderr.contains("panicked"), "{arguments:?}: {stderr}");
        }
    }
    Ok(())
}
