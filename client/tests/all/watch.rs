//! `taskstatsctl watch`, by running the binary.

use std::process::Stdio;

use serde_json::{Value, json};
use taskstats_client::proto::CpuTime;
use taskstats_client::proto::watch_exits_response::Kind;
use taskstats_client::{Attribution, DelayAccounting, OnLag, Workloads};
use tokio::io::{AsyncBufReadExt, BufReader};
use tonic::Status;

use crate::command::{in_time, run, taskstatsctl, text};
use crate::records::{
    batch, code, cursor, exit, group, lost, of_cgroup, signal, started, workload,
};
use crate::scripted_agent::{Agent, End, Script};

fn sending(exits: Vec<Kind>, end: End) -> Agent {
    Agent::start(Script { exits, end, ..Script::default() })
}

/// Returns two exits, of a known and of no cgroup, a loss, and an exit of an unknown cgroup.
fn usual() -> Vec<Kind> {
    let attributed = of_cgroup(9, Attribution::Exact, exit(1, code(0)));
    let mut thread = of_cgroup(8, Attribution::Guess, exit(15, signal(11, true)));
    thread.last_in_process = Some(false);
    vec![
        started(DelayAccounting::On),
        Kind::Workloads(Workloads { workloads: vec![workload()] }),
        batch(vec![attributed, exit(2, code(7))], 2),
        lost(Some(12)),
        batch(vec![thread], 20),
    ]
}

const TABLE: &str = "\
TIME         CPU     PID    PPID COMM            OF      END             ELAPSED CPU TIME PEAK RSS      I/O TOP WAIT          WORKLOAD
14:07:09.120   1      42       1 sh              process exit 0           1m 05s   1.2 ms   34 MiB   12 KiB block I/O 3.1 ms  prod/api-0/web
14:07:09.120   1      42       1 sh              process exit 7           1m 05s   1.2 ms   34 MiB   12 KiB block I/O 3.1 ms  -
-- lost 12 exits on CPU 1: the agent's socket was full, and the kernel dropped them (from 14:07:09.120 until 14:07:09.250; 40 in all at this stage)
14:07:09.120   1      42       1 sh              thread  SIGSEGV (core)   1m 05s   1.2 ms   34 MiB   12 KiB block I/O 3.1 ms  cgroup:8?
";

#[tokio::test]
async fn a_table_has_a_row_for_each_exit_and_loss() {
    let output = run(&sending(usual(), End::Never), &["watch", "-n", "3"]).await;
    assert_eq!(text(&output.stdout), TABLE);
    assert_eq!(
        text(&output.stderr),
        "taskstatsctl: watching CPUs 0-1 of node node7 (taskstats version 16)\n\
         taskstatsctl: continue with --after run1:20\n"
    );
    assert_eq!(output.status.code(), Some(0));
}

#[tokio::test]
async fn a_compact_exit_has_raw_numbers() {
    let agent = sending(usual(), End::Never);
    let output = run(&agent, &["watch", "-n", "3", "-o", "compact"]).await;
    let lines: Vec<_> = text(&output.stdout).lines().collect();
    let rest = "elapsed_us=65000000 cpu_time_us=1200 peak_rss_kib=34816 io_bytes=12288 \
                top_wait=block_io top_wait_ns=3100000";
    let task = "pid=42 tgid=42 ppid=1 comm=sh";
    let time = "time=2026-11-22T14:07:09.12Z cpu=1";
    let owner = "workload=prod/api-0/web attribution=exact";
    assert_eq!(lines[0], format!("exit {time} of=process {task} code=0 {rest} {owner}"));
    let owner = "workload=- attribution=-";
    assert_eq!(lines[1], format!("exit {time} of=process {task} code=7 {rest} {owner}"));
    assert_eq!(
        lines[2],
        "lost stage=kernel_socket cpu=1 count=12 total=40 first_at=2026-11-22T14:07:09.12Z \
         last_at=2026-11-22T14:07:09.25Z"
    );
    let end = "signal=SIGSEGV core=yes";
    let owner = "workload=cgroup:8? attribution=guess";
    assert_eq!(lines[3], format!("exit {time} of=thread {task} {end} {rest} {owner}"));
}

#[tokio::test]
async fn json_has_a_document_for_each_event() {
    let agent = sending(usual(), End::Never);
    let output = run(&agent, &["watch", "-n", "3", "-o", "jsonl"]).await;
    let lines: Vec<Value> =
        text(&output.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 6);
    assert_eq!(lines[0]["started"]["nodeName"], json!("node7"));
    assert_eq!(lines[1]["workloads"]["workloads"][0]["pod"]["name"], json!("api-0"));
    assert_eq!(lines[2]["event"]["task"]["exit"], json!({"code": 0}));
    assert_eq!(lines[2]["event"]["attribution"], json!("ATTRIBUTION_EXACT"));
    assert_eq!(lines[2]["workload"], lines[1]["workloads"]["workloads"][0]);
    assert_eq!(lines[2]["cursor"], json!({"instanceId": "run1", "sequence": "1"}));
    assert_eq!(lines[3]["event"]["sequence"], json!("2"));
    assert_eq!(lines[3]["workload"], Value::Null);
    assert_eq!(lines[4]["lost"]["count"], json!("12"));
    assert_eq!(lines[4]["lost"]["stage"], json!("LOST_STAGE_KERNEL_SOCKET"));
    assert_eq!(lines[5]["cursor"]["sequence"], json!("20"));
    assert_eq!(text(&output.stderr), "taskstatsctl: continue with --after run1:20\n");
}

#[tokio::test]
async fn a_limit_ends_a_watch_inside_a_batch() {
    let agent = sending(usual(), End::Never);
    let output = run(&agent, &["watch", "-n", "1", "-o", "compact"]).await;
    assert_eq!(text(&output.stdout).lines().count(), 1);
    assert!(text(&output.stderr).ends_with("taskstatsctl: continue with --after run1:1\n"));
    assert_eq!(output.status.code(), Some(0));
}

#[tokio::test]
async fn an_unknown_count_is_not_zero() {
    let exits = vec![started(DelayAccounting::On), lost(None), batch(vec![exit(1, code(0))], 1)];
    let output = run(&sending(exits, End::Never), &["watch", "-n", "1"]).await;
    let stdout = text(&output.stdout);
    assert!(stdout.contains("-- lost an unknown number of exits on CPU 1: "), "{stdout}");
}

#[tokio::test]
async fn without_delay_accounting_the_wait_for_a_cpu_is_shown() {
    let mut event = exit(1, code(0));
    event.task.as_mut().unwrap().delay_accounting = DelayAccounting::Off.into();
    let exits = vec![started(DelayAccounting::Off), batch(vec![event], 1)];
    let output = run(&sending(exits, End::Never), &["watch", "-n", "1"]).await;
    let stdout = text(&output.stdout);
    assert!(stdout.ends_with("  12 KiB cpu 40 µs         -\n"), "{stdout}");
    let note = "note: delay accounting is off: TOP WAIT is the wait for a CPU, which the scheduler \
                keeps, and other delays are unknown;";
    assert!(text(&output.stderr).contains(note), "{}", text(&output.stderr));
}

#[tokio::test]
async fn a_pipe_has_colours_on_request_only() {
    let agent = sending(usual(), End::Never);
    let piped = run(&agent, &["watch", "-n", "3"]).await.stdout;
    assert!(!piped.contains(&0x1b));
    let painted = run(&agent, &["watch", "-n", "3", "--color", "always"]).await.stdout;
    assert!(text(&painted).contains("\x1b[1;31mSIGSEGV (core) \x1b[0m"), "{}", text(&painted));
    assert!(text(&painted).contains("\x1b[1;31m-- lost 12 exits"));
    let plain = text(&painted)
        .replace("\x1b[1;31m", "")
        .replace("\x1b[33m", "")
        .replace("\x1b[1m", "")
        .replace("\x1b[0m", "");
    assert_eq!(plain, TABLE);
}

#[tokio::test]
async fn the_flags_become_the_request() {
    let agent = sending(usual(), End::Never);
    let arguments = ["watch", "-n", "1", "--cpus", "0-3", "--scope", "threads"];
    let more = ["--max-batch-delay", "10ms", "--last", "5", "--on-lag", "close"];
    run(&agent, &[&arguments[..], &more].concat()).await;
    run(&agent, &["watch", "-n", "1", "--after", "run1:7"]).await;
    let received = agent.received();
    assert_eq!(received.watches[1].resume_after, cursor(7));
    let request = &received.watches[0];
    assert_eq!((request.replay_last, request.on_lag()), (5, OnLag::Close));
    assert_eq!(request.cpumask, "0-3");
    assert_eq!(request.scope(), taskstats_client::Scope::Threads);
    assert_eq!(request.max_batch_delay.unwrap().nanos, 10_000_000);
}

#[tokio::test]
async fn the_end_of_a_stream_is_code_1_with_the_last_cursor() {
    let cursor = "; continue with --after run1:20\n";
    let ends = [
        (End::Cleanly, "the agent ended the stream"),
        (End::With(Status::unavailable("the agent is draining")), "the agent is draining"),
    ];
    for (end, said) in ends {
        let output = run(&sending(usual(), end), &["watch", "-o", "jsonl"]).await;
        assert_eq!(text(&output.stderr), format!("taskstatsctl: {said}{cursor}"));
        assert_eq!(output.status.code(), Some(1));
        assert_eq!(text(&output.stdout).lines().count(), 6);
    }
}

/// `taskstatsctl watch | head -1` is a success.
#[tokio::test]
async fn a_closed_pipe_is_a_success() {
    let exits = std::iter::once(started(DelayAccounting::On))
        .chain((1..1000).map(|at| batch(vec![exit(at, code(0))], at)));
    let agent = sending(exits.collect(), End::Never);
    let mut command = taskstatsctl(&agent.target().to_string(), &["watch"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = in_time(child.wait_with_output()).await.unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(!text(&output.stderr).contains("pipe"));
}

#[tokio::test]
async fn a_signal_ends_a_watch_with_success_and_the_cursor() {
    let agent = sending(vec![started(DelayAccounting::On)], End::Never);
    for signal in ["-INT", "-TERM"] {
        let mut command = taskstatsctl(&agent.target().to_string(), &["watch"]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert!(in_time(lines.next_line()).await.unwrap().unwrap().starts_with("TIME"));
        let pid = child.id().unwrap().to_string();
        tokio::process::Command::new("kill").args([signal, &pid]).status().await.unwrap();
        let output = in_time(child.wait_with_output()).await.unwrap();
        assert!(text(&output.stderr).ends_with(": continue with --after run1:0\n"), "{signal}");
        assert_eq!(output.status.code(), Some(0), "{signal}");
    }
}

/// The row of a process is that of all of its threads: the kernel's group record has 296 ms, the last
/// thread 44 ms.
#[tokio::test]
async fn the_row_of_a_process_has_the_numbers_of_its_group() {
    let mut last = exit(1, code(0));
    let task = last.task.as_mut().unwrap();
    task.identity.as_mut().unwrap().pid = Some(44);
    task.cpu = Some(CpuTime { user_us: Some(44_000), system_us: Some(0), ..Default::default() });
    task.group_elapsed_us = Some(70_000_000);
    last.process = Some(Box::new(group(296_000)));
    let agent = sending(vec![started(DelayAccounting::On), batch(vec![last], 1)], End::Never);
    let table = run(&agent, &["watch", "-n", "1", "--scope", "processes"]).await.stdout;
    let row = "14:07:09.120   1      42       1 ?/sh            process exit 0           1m 10s   \
               296 ms   34 MiB        - cpu 700 µs        -\n";
    assert!(text(&table).ends_with(row), "{}", text(&table));
    let line = run(&agent, &["watch", "-n", "1", "-o", "compact"]).await.stdout;
    assert_eq!(
        text(&line),
        "exit time=2026-11-22T14:07:09.12Z cpu=1 of=process pid=42 tgid=42 ppid=1 comm=- code=0 \
         elapsed_us=70000000 cpu_time_us=296000 peak_rss_kib=34816 io_bytes=- top_wait=cpu \
         top_wait_ns=700000 workload=- attribution=- last_thread_comm=sh\n"
    );
}

#[tokio::test]
async fn a_table_has_the_columns_of_the_user() {
    let agent = sending(usual(), End::Never);
    let chosen = ["watch", "-n", "1", "--columns", "pid,minor-faults,read,"];
    let table = run(&agent, &chosen).await.stdout;
    assert_eq!(text(&table), "    PID   MINFLT     READ\n     42       80  4.0 KiB\n");
    let wide = run(&agent, &["watch", "-n", "1", "-o", "wide"]).await.stdout;
    for title in ["SEQUENCE", "TGID", "UID", "WRITTEN", "MAJFLT", "NIVCSW", "TOP WAIT", "WORKLOAD"]
    {
        assert!(text(&wide).lines().next().unwrap().contains(title), "{title}");
    }
}

#[tokio::test]
async fn an_event_is_printed_on_arrival() {
    let agent = sending(usual(), End::Never);
    let arguments = ["watch", "-o", "compact"];
    let mut command = taskstatsctl(&agent.target().to_string(), &arguments);
    let mut child =
        command.stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    for kind in ["exit", "exit", "lost", "exit"] {
        assert!(in_time(lines.next_line()).await.unwrap().unwrap().starts_with(kind));
    }
}
