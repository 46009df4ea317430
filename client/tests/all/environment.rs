//! The environment of `taskstatsctl`, by running the binary.

use std::process::Output;

use taskstats_client::DelayAccounting;

use crate::command::{in_time, run, taskstatsctl, text};
use crate::records::{batch, code, exit, started, stats};
use crate::scripted_agent::{Agent, Script};

async fn watch_in_zone(variables: &[(&str, &str)], form: &str) -> Output {
    let exits = vec![started(DelayAccounting::On), batch(vec![exit(1, code(0))], 1)];
    let agent = Agent::start(Script { exits, ..Script::default() });
    let target = agent.target().to_string();
    let mut command = taskstatsctl(&target, &["watch", "-n", "1", "-o", form]);
    in_time(command.envs(variables.iter().copied()).kill_on_drop(true).output()).await.unwrap()
}

/// Asia/Kolkata is 5:30 hours ahead of UTC. A directory without zones leaves those of the program.
#[tokio::test]
async fn times_are_in_the_zone_of_the_user() {
    for variables in [
        &[("TZ", "Asia/Kolkata")][..],
        &[("TZ", ":Asia/Kolkata")],
        &[("TZ", "IST-5:30")],
        &[("TZ", "Asia/Kolkata"), ("TZDIR", "/nowhere")],
        &[("TZ", "Asia/Kolkata"), ("TZDIR", "/dev")],
    ] {
        let output = watch_in_zone(variables, "table").await;
        assert!(text(&output.stdout).contains("\n19:37:09.120 "), "{variables:?}: {output:?}");
        assert!(!text(&output.stderr).contains("zone"), "{variables:?}: {output:?}");
    }
}

#[tokio::test]
async fn an_unknown_zone_is_reported_once() {
    let output = watch_in_zone(&[("TZ", "Mars/Olympus")], "table").await;
    assert!(text(&output.stdout).contains("\n14:07:09.120 "), "{output:?}");
    let stderr = text(&output.stderr);
    assert!(stderr.starts_with("taskstatsctl: the time zone TZ=Mars/Olympus cannot be read: "));
    assert!(stderr.lines().next().unwrap().ends_with("; times are in UTC"), "{stderr}");
    assert_eq!(stderr.matches("Mars").count(), 1, "{stderr}");
    assert_eq!(output.status.code(), Some(0));
}

/// Compact output is always in UTC.
#[tokio::test]
async fn a_zone_that_is_not_used_is_not_reported() {
    let output = watch_in_zone(&[("TZ", "Mars/Olympus")], "compact").await;
    assert!(text(&output.stdout).contains(" time=2026-11-22T14:07:09.12Z "), "{output:?}");
    assert!(!text(&output.stderr).contains("Mars"), "{output:?}");
}

#[tokio::test]
async fn blank_variables_are_unset_and_values_are_trimmed() {
    let agent = Agent::start(Script { stats: stats("sh"), ..Script::default() });
    let target = format!(" {}\n", agent.target());
    let mut command = taskstatsctl(&target, &["get", "pid", "42", "-o", "compact"]);
    for variable in ["TASKSTATS_CA", "TASKSTATS_CERT", "TASKSTATS_KEY", "TASKSTATS_SERVER_NAME"] {
        command.env(variable, " ");
    }
    let output = in_time(command.kill_on_drop(true).output()).await.unwrap();
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), ""));
    let blank = taskstatsctl("", &["get", "pid", "42"]).output().await.unwrap();
    assert!(text(&blank.stderr).contains("unix:///run/taskstatsd/taskstatsd.sock"), "{blank:?}");
}

/// A flag has precedence over its variable, blank or not.
#[tokio::test]
async fn a_flag_replaces_its_variable() {
    let agent = Agent::start(Script { stats: stats("sh"), ..Script::default() });
    let target = agent.target().to_string();
    let arguments = ["get", "pid", "42", "-o", "compact", "--target", &target];
    for variable in [" tcp://127.0.0.1:1 ", "tcp://127.0.0.1:1", ""] {
        let output = taskstatsctl(variable, &arguments).output().await.unwrap();
        assert_eq!(output.status.code(), Some(0), "{variable:?}: {output:?}");
    }
    assert_eq!(run(&agent, &["get", "pid", "42"]).await.status.code(), Some(0));
}
