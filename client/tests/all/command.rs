//! `taskstatsctl get`, and the behaviour that all commands share, by running the binary.

use std::process::Output;
use std::time::Duration;

use serde_json::{Value, json};
use taskstats_client::proto::*;
use tokio::process::Command;
use tonic::Status;

use crate::records::{stats, workload};
use crate::scripted_agent::{Agent, KNOWN, SILENT, Script};

/// Returns the command with an environment that does not depend on the machine.
pub(crate) fn taskstatsctl(target: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_taskstatsctl"));
    command.env_clear().env("TZ", "UTC").env("TASKSTATS_TARGET", target).args(arguments);
    command
}

pub(crate) async fn run(agent: &Agent, arguments: &[&str]) -> Output {
    let mut command = taskstatsctl(&agent.target().to_string(), arguments);
    in_time(command.kill_on_drop(true).output()).await.unwrap()
}

/// Waits for a future, with a limit that turns a hanging test into a failing one.
pub(crate) async fn in_time<T>(future: impl Future<Output = T>) -> T {
    const LIMIT: Duration = Duration::from_secs(60);
    tokio::time::timeout(LIMIT, future).await.unwrap()
}

pub(crate) fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

fn knowing(stats: TaskStats) -> Agent {
    Agent::start(Script { stats, ..Script::default() })
}

const FULL: &str = "\
task 42
  command             sh
  process             42
  parent              1
  user                1000
  group               100
  nice                0
  scheduler           other
  flags               used superuser privileges
  began               2026-11-22 14:07:09
  elapsed             1m 05s
  faults              80 minor, 2 major
  context switches    5 voluntary, 1 involuntary
  taskstats version   16
CPU time
  user                900 µs
  system              300 µs
Memory
  peak RSS            34 MiB
  peak virtual        1.0 GiB
  RSS integral        0 MB·µs
  virtual integral    0 MB·µs
I/O
  read by calls       0 B in under 1024 calls
  written by calls    0 B in under 1024 calls
  read from storage   4.0 KiB
  written to storage  8.0 KiB
  write cancelled     0 B
Delays
  CPU                 40 µs in 3 waits, longest 40 µs
  block I/O           3.1 ms in 4 waits, longest 3.1 ms
";

#[tokio::test]
async fn a_task_is_printed_in_full() {
    let output = run(&knowing(stats("sh")), &["get", "pid", "42"]).await;
    assert_eq!(text(&output.stdout), FULL);
    assert_eq!(output.status.code(), Some(0));
}

#[tokio::test]
async fn the_owner_of_a_task_is_printed() {
    let script = Script { stats: stats("sh"), workload: Some(workload()), ..Script::default() };
    let agent = Agent::start(script);
    let output = run(&agent, &["get", "pid", "42"]).await;
    let expected = "
Workload
  owner               prod/api-0/web
  attribution         observed
  cgroup              /kubepods/burstable/pod7f2a/0123456789abcdef
  container id        0123456789abcdef
  pod uid             7f2a
  QoS class           Burstable
CPU time
";
    assert!(text(&output.stdout).contains(expected), "{}", text(&output.stdout));
    let compact = run(&agent, &["get", "tgid", "42", "-o", "compact"]).await.stdout;
    let end = " workload=prod/api-0/web attribution=observed\n";
    assert!(text(&compact).ends_with(end), "{}", text(&compact));
    let line = run(&agent, &["get", "pid", "42", "43", "-o", "jsonl"]).await.stdout;
    let value: Value = serde_json::from_slice(&line).unwrap();
    assert_eq!(value["workload"]["pod"]["namespace"], json!("prod"));
    assert_eq!(value["attribution"], json!("ATTRIBUTION_OBSERVED"));
}

#[tokio::test]
async fn threads_follow_their_process() {
    let group = TaskStats {
        identity: Some(Identity { tgid: Some(KNOWN), ..Default::default() }),
        taskstats_version: 16,
        ..Default::default()
    };
    let threads = vec![stats("main"), stats("a-name-beyond-its-column")];
    let agent = Agent::start(Script { stats: group, threads, ..Script::default() });
    let output = run(&agent, &["get", "tgid", "42", "--threads"]).await;
    let expected = "\
process 42
  taskstats version   16
      TID COMM             ELAPSED CPU TIME      I/O TOP WAIT
       42 main              1m 05s   1.2 ms   12 KiB block I/O 3.1 ms
       42 a-name-beyond-…   1m 05s   1.2 ms   12 KiB block I/O 3.1 ms
";
    assert_eq!(text(&output.stdout), expected);
}

#[tokio::test]
async fn a_compact_record_is_one_line() {
    let output = run(&knowing(stats("Web Content")), &["get", "pid", "42", "-o", "compact"]).await;
    assert_eq!(
        text(&output.stdout),
        "task pid=42 tgid=42 ppid=1 comm=\"Web Content\" elapsed_us=65000000 \
         cpu_time_us=1200 peak_rss_kib=34816 io_bytes=12288 top_wait=block_io \
         top_wait_ns=3100000\n"
    );
}

#[tokio::test]
async fn json_is_the_message() {
    let agent = knowing(stats("sh"));
    let pretty = run(&agent, &["get", "pid", "42", "-o", "json"]).await.stdout;
    let line = run(&agent, &["get", "pid", "42", "--output=jsonl"]).await.stdout;
    let value: Value = serde_json::from_slice(&line).unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&pretty).unwrap(), value);
    assert_eq!(text(&line).lines().count(), 1);
    assert!(text(&pretty).lines().count() > 1);
    assert_eq!(value["stats"]["elapsedUs"], json!("65000000"));
    assert_eq!(value["stats"]["identity"]["beginTime"], json!("2026-11-22T14:07:09Z"));
    assert_eq!(value["stats"]["delayAccounting"], json!("DELAY_ACCOUNTING_ON"));
    assert_eq!(value["stats"]["delays"]["blockIo"]["totalNs"], json!("3100000"));
}

/// A zero delay of a kernel that keeps no delays must not look like a fast disk.
#[tokio::test]
async fn without_delay_accounting_a_delay_is_off() {
    let off = DelayAccounting::Off.into();
    let agent = knowing(TaskStats { delay_accounting: off, ..stats("sh") });
    let output = run(&agent, &["get", "pid", "42"]).await;
    let expected = "\
Delays (delay accounting is off: only the wait for a CPU is known)
  CPU                 40 µs in 3 waits, longest 40 µs
  block I/O           off
";
    assert!(text(&output.stdout).ends_with(expected), "{}", text(&output.stdout));
    let output = run(&agent, &["get", "pid", "42", "-o", "compact"]).await;
    assert!(text(&output.stdout).ends_with(" top_wait=cpu top_wait_ns=40000\n"));
}

/// A zero delay of a task that began before accounting was turned on is not a fast disk either.
#[tokio::test]
async fn delays_of_a_part_of_the_lifetime_are_lower_bounds() {
    let mut early = TaskStats { delay_accounting: DelayAccounting::Partial.into(), ..stats("sh") };
    early.delays.as_mut().unwrap().swap_in = Some(Delay::default());
    let output = run(&knowing(early), &["get", "pid", "42"]).await;
    let expected = "\
Delays (accounting was on for a part of the lifetime: only the wait for a CPU is complete)
  CPU                 40 µs in 3 waits, longest 40 µs
  block I/O           at least 3.1 ms in 4 waits, longest 3.1 ms
  swap-in             unknown
";
    assert!(text(&output.stdout).ends_with(expected), "{}", text(&output.stdout));
}

/// ESC, CSI as one character, DEL, and RIGHT-TO-LEFT OVERRIDE.
#[tokio::test]
async fn a_name_cannot_drive_the_terminal() {
    let agent = knowing(stats("\u{1b}\u{9b}\u{7f}\u{202e}"));
    for form in ["table", "wide", "compact", "json", "jsonl"] {
        let output = run(&agent, &["get", "pid", "42", "-o", form]).await;
        assert!(text(&output.stdout).contains("\\u001b\\u009b\\u007f\\u202e"), "{form}");
        let is_plain = |character: char| character == '\n' || !character.is_control();
        assert!(text(&output.stdout).chars().all(is_plain), "{form}");
        assert!(!text(&output.stdout).contains('\u{202e}'), "{form}");
    }
}

#[tokio::test]
async fn a_missing_id_is_reported_and_the_others_are_printed() {
    for kind in ["pid", "tgid"] {
        let arguments = ["get", kind, "7", "42", "-o", "jsonl"];
        let output = run(&knowing(stats("sh")), &arguments).await;
        assert_eq!(text(&output.stdout).lines().count(), 1);
        let message = format!("taskstatsctl: {kind} 7: no task has id 7 (ESRCH)\n");
        assert_eq!(text(&output.stderr), message);
        assert_eq!(output.status.code(), Some(1));
    }
    let arguments = ["get", "tgid", "7", "42", "--threads", "-o", "jsonl"];
    let output = run(&knowing(stats("sh")), &arguments).await;
    assert_eq!(text(&output.stdout).lines().count(), 1);
    assert_eq!(output.status.code(), Some(1));
}

#[tokio::test]
async fn a_denied_call_is_one_line_and_code_3() {
    let agent = Agent::start(Script {
        refusal: Some(Status::permission_denied("two\nlines \u{1b}[31m")),
        ..Script::default()
    });
    let output = run(&agent, &["node"]).await;
    assert_eq!(text(&output.stderr), "taskstatsctl: two\\nlines \\u001b[31m\n");
    assert_eq!(output.status.code(), Some(3));
}

#[tokio::test]
async fn a_missing_task_is_code_1() {
    let output = run(&knowing(stats("sh")), &["get", "pid", "7"]).await;
    assert_eq!(text(&output.stderr), "taskstatsctl: no task has id 7 (ESRCH)\n");
    assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0));
}

#[tokio::test]
async fn a_call_ends_at_its_deadline() {
    let silent = SILENT.to_string();
    let arguments = ["get", "pid", &silent, "--timeout", "20ms"];
    let output = run(&knowing(stats("sh")), &arguments).await;
    assert_eq!(text(&output.stderr), "taskstatsctl: deadline of 20ms exceeded\n");
    assert_eq!(output.status.code(), Some(1));
}

#[tokio::test]
async fn an_unreachable_agent_is_to_be_started() {
    let output = taskstatsctl("/nowhere/agent.sock", &["node"]).output().await.unwrap();
    assert_eq!(
        text(&output.stderr),
        "taskstatsctl: cannot reach taskstatsd at unix:///nowhere/agent.sock: No such file or \
         directory (os error 2); start it (taskstatsd, or systemctl start taskstatsd), or set \
         its address with --target\n"
    );
    assert_eq!(output.status.code(), Some(1));
}

#[tokio::test]
async fn invalid_arguments_are_code_2() {
    let invalid: [&[&str]; 22] = [
        &[],
        &["get"],
        &["get", "pid"],
        &["get", "pid", "x"],
        &["watch", "-n", "0"],
        &["watch", "--scope", "some"],
        &["watch", "--max-batch-delay", "10"],
        &["watch", "--last", "0"],
        &["watch", "--after", "run1"],
        &["watch", "--after", "run1:7", "--last", "5"],
        &["watch", "--on-lag", "wait"],
        &["node", "--target", "nowhere"],
        &["node", "-o", "xml"],
        &["node", "--cert", "/a.crt"],
        &["node", "--key", "/a.key"],
        &["watch", "--since", "yesterday"],
        &["watch", "--since", "1m", "--last", "5"],
        &["watch", "--since", "1m", "--after", "run1:7"],
        &["watch", "--no-follow", "--reconnect"],
        &["watch", "--columns", "pid,x"],
        &["watch", "--columns", ","],
        &["watch", "--columns", "pid", "-o", "jsonl"],
    ];
    for arguments in invalid {
        let output = taskstatsctl("/a", arguments).output().await.unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(!output.stderr.is_empty(), "{arguments:?}");
    }
}

#[tokio::test]
async fn the_help_has_the_exit_codes() {
    let output = taskstatsctl("/a", &["--help"]).output().await.unwrap();
    assert!(text(&output.stdout).contains("Exit codes:\n  0  success"));
    assert_eq!(output.status.code(), Some(0));
}
