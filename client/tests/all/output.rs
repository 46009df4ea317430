//! Output that cannot be written, by running the binary.

use std::fs::File;
use std::process::Stdio;

use taskstats_client::DelayAccounting;

use crate::command::{in_time, taskstatsctl, text};
use crate::records::{batch, code, exit, started, stats};
use crate::scripted_agent::{Agent, Script};

/// The commands that print, each with its arguments.
const COMMANDS: [&[&str]; 8] = [
    &["get", "pid", "42"],
    &["get", "tgid", "42", "--threads", "-o", "jsonl"],
    &["watch", "-n", "1"],
    &["node"],
    &["health"],
    &["completions", "bash"],
    &["--help"],
    &["--version"],
];

fn agent() -> Agent {
    let exits = vec![started(DelayAccounting::On), batch(vec![exit(1, code(0))], 1)];
    Agent::start(Script { stats: stats("sh"), exits, ..Script::default() })
}

fn full_device() -> Stdio {
    File::options().write(true).open("/dev/full").unwrap().into()
}

/// Returns the end of a pipe that no process reads.
fn closed_pipe() -> Stdio {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    writer.into()
}

#[tokio::test]
async fn a_full_device_is_an_error() {
    let agent = agent();
    for arguments in COMMANDS {
        let mut command = taskstatsctl(&agent.target().to_string(), arguments);
        let child = command.stdout(full_device()).stderr(Stdio::piped()).kill_on_drop(true).spawn();
        let output = in_time(child.unwrap().wait_with_output()).await.unwrap();
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {output:?}");
        let stderr = text(&output.stderr);
        assert!(stderr.contains("No space left on device"), "{arguments:?}: {stderr}");
    }
}

#[tokio::test]
async fn a_closed_pipe_is_a_success() {
    let agent = agent();
    for arguments in COMMANDS {
        let mut command = taskstatsctl(&agent.target().to_string(), arguments);
        let child = command.stdout(closed_pipe()).stderr(Stdio::piped()).kill_on_drop(true).spawn();
        let output = in_time(child.unwrap().wait_with_output()).await.unwrap();
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {output:?}");
        assert!(!text(&output.stderr).contains("pipe"), "{arguments:?}: {output:?}");
    }
}

/// The exit code does not depend on standard error.
#[tokio::test]
async fn messages_that_cannot_be_written_are_dropped() {
    let agent = agent();
    let target = agent.target().to_string();
    for (arguments, code) in
        [(&["watch", "-n", "1"][..], 0), (&["get", "pid", "7"], 1), (&["watch", "-n", "0"], 2)]
    {
        for stderr in [full_device(), closed_pipe()] {
            let mut command = taskstatsctl(&target, arguments);
            let status = command.stdout(Stdio::null()).stderr(stderr).kill_on_drop(true).status();
            assert_eq!(in_time(status).await.unwrap().code(), Some(code), "{arguments:?}");
        }
        let shell = "exec \"$0\" \"$@\" 2>&- >/dev/null";
        let mut command = tokio::process::Command::new("/bin/sh");
        command.env("TASKSTATS_TARGET", &target).args(["-c", shell]);
        command.arg(env!("CARGO_BIN_EXE_taskstatsctl")).args(arguments).kill_on_drop(true);
        assert_eq!(in_time(command.status()).await.unwrap().code(), Some(code), "{arguments:?}");
    }
}
