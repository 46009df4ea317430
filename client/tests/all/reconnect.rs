//! `taskstatsctl watch --reconnect`, by running the binary.

use std::process::Stdio;

use taskstats_client::proto::watch_exits_response::Kind;
use taskstats_client::proto::{Cursor, ExitEvents, Lost, LostStage, WatchStarted};
use taskstats_client::{DelayAccounting, Heartbeat};
use tokio::io::{AsyncBufReadExt, BufReader};
use tonic::Status;

use crate::command::{in_time, run, taskstatsctl, text};
use crate::records::{batch, code, cursor, exit, started};
use crate::scripted_agent::{Agent, End, Script};

fn draining() -> End {
    End::With(Status::unavailable("the agent is draining"))
}

/// Starts an agent whose first stream has two exits and a heartbeat, with the streams after it.
fn agent(later: Vec<(Vec<Kind>, End)>) -> Agent {
    let exits = vec![
        started(DelayAccounting::On),
        batch(vec![exit(1, code(0)), exit(2, code(7))], 2),
        Kind::Heartbeat(Heartbeat { cursor: cursor(5) }),
    ];
    Agent::start(Script { exits, end: draining(), later, ..Script::default() })
}

/// Returns the cursors to continue after that the agent received.
fn cursors(agent: &Agent) -> Vec<Option<Cursor>> {
    agent.received().watches.iter().map(|request| request.resume_after.clone()).collect()
}

#[tokio::test]
async fn a_watch_continues_after_its_last_cursor() {
    let agent = agent(vec![
        (vec![], draining()),
        (vec![], End::Cleanly),
        (vec![started(DelayAccounting::On), batch(vec![exit(6, code(3))], 6)], End::Never),
    ]);
    let arguments = ["watch", "--reconnect", "--last", "9", "-n", "3", "-o", "compact"];
    let output = run(&agent, &arguments).await;
    assert_eq!(
        text(&output.stderr),
        "taskstatsctl: watching CPUs 0-1 of node node7 (taskstats version 16)\n\
         taskstatsctl: waiting for the agent: the agent is draining\n\
         taskstatsctl: waiting for the agent: the agent ended the stream\n\
         taskstatsctl: reconnected, continuing after run1:5\n\
         taskstatsctl: continue with --after run1:6\n"
    );
    let codes: Vec<_> = text(&output.stdout)
        .lines()
        .filter_map(|line| line.split(' ').find(|word| word.starts_with("code=")))
        .collect();
    assert_eq!(codes, ["code=0", "code=7", "code=3"]);
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(cursors(&agent), [None, cursor(5), cursor(5), cursor(5)]);
    let replayed: Vec<_> = agent.received().watches.iter().map(|watch| watch.replay_last).collect();
    assert_eq!(replayed, [9, 0, 0, 0]);
}

/// The cursor at the start of a stream of another run lies after a loss that is still to come.
#[tokio::test]
async fn a_restart_is_reported_even_if_the_first_stream_after_it_breaks() {
    let begin = || Some(Cursor { instance_id: "run2".to_owned(), sequence: 0 });
    let restarted = || Kind::Started(WatchStarted { cursor: begin(), ..WatchStarted::default() });
    let lost = Lost { stage: LostStage::AgentRestart.into(), cursor: begin(), ..Lost::default() };
    let first = ExitEvents { events: vec![exit(1, code(9))], cursor: begin() };
    let agent = agent(vec![
        (vec![restarted()], End::Cleanly),
        (vec![restarted(), Kind::Lost(lost), Kind::Events(first)], End::Never),
    ]);
    let output = run(&agent, &["watch", "--reconnect", "-n", "3"]).await;
    assert_eq!(cursors(&agent), [None, cursor(5), cursor(5)]);
    let lines: Vec<_> = text(&output.stdout).lines().collect();
    assert_eq!(
        lines[3],
        "-- lost an unknown number of exits: the agent was restarted, and did not listen meanwhile"
    );
    assert!(lines[4].contains("exit 9"), "{lines:?}");
    assert_eq!(lines.len(), 5);
}

#[tokio::test]
async fn a_permanent_error_is_not_retried() {
    let refused = End::With(Status::failed_precondition("no CAP_NET_ADMIN"));
    let agent = agent(vec![(vec![], refused)]);
    let output = run(&agent, &["watch", "--reconnect", "-o", "compact"]).await;
    let last = text(&output.stderr).lines().last().unwrap();
    assert_eq!(last, "taskstatsctl: no CAP_NET_ADMIN; continue with --after run1:5");
    assert_eq!(output.status.code(), Some(1));
}

#[tokio::test]
async fn an_interrupt_while_waiting_is_a_success() {
    let agent = agent(vec![(vec![], draining())]);
    let mut command = taskstatsctl(&agent.target().to_string(), &["watch", "--reconnect"]);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    while !in_time(lines.next_line()).await.unwrap().unwrap().contains("waiting for the agent") {}
    let pid = child.id().unwrap().to_string();
    tokio::process::Command::new("kill").args(["-INT", &pid]).status().await.unwrap();
    assert_eq!(in_time(child.wait()).await.unwrap().code(), Some(0));
    let last = in_time(lines.next_line()).await.unwrap().unwrap();
    assert_eq!(last, "taskstatsctl: continue with --after run1:5");
    assert_eq!(in_time(lines.next_line()).await.unwrap(), None);
}
