//! `taskstatsctl watch` of exits in the agent's history, by running the binary.

use std::process::Output;

use taskstats_client::proto::watch_exits_response::Kind;
use taskstats_client::proto::{GetNodeResponse, History, Lost};
use taskstats_client::{DelayAccounting, ExitEvent, Heartbeat};

use crate::command::{run, text};
use crate::records::{batch, code, cursor, exit, started, time};
use crate::scripted_agent::{Agent, Script};

/// Starts an agent whose history ends at the exit with the number `last`.
fn agent(last: u64, exits: Vec<Kind>) -> Agent {
    let history = History { first_sequence: 1, last_sequence: last, ..Default::default() };
    let node = GetNodeResponse {
        instance_id: "run1".to_owned(),
        history: Some(history),
        ..Default::default()
    };
    let exits = std::iter::once(started(DelayAccounting::On)).chain(exits).collect();
    Agent::start(Script { node, exits, ..Script::default() })
}

/// The exit with the given number, received so many milliseconds after 14:07:09.
fn at(sequence: u64, milliseconds: i32) -> ExitEvent {
    ExitEvent {
        received_at: time(milliseconds),
        ..exit(sequence, code(sequence.try_into().unwrap()))
    }
}

fn codes(output: &Output) -> Vec<&str> {
    let lines = text(&output.stdout).lines();
    lines.filter_map(|line| line.split(' ').find_map(|word| word.strip_prefix("code="))).collect()
}

#[tokio::test]
async fn without_following_a_watch_ends_at_the_present() {
    let agent = agent(3, vec![batch(vec![at(1, 0), at(3, 1), at(4, 2)], 4)]);
    let output = run(&agent, &["watch", "--no-follow", "-o", "compact"]).await;
    assert_eq!(codes(&output), ["1", "3"]);
    assert!(text(&output.stderr).ends_with(": continue with --after run1:3\n"), "{output:?}");
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(agent.received().watches[0].replay_last, u32::MAX);
}

/// The newest exit of the history need not be one of the stream's.
#[tokio::test]
async fn without_following_a_watch_ends_at_a_cursor_or_an_exit_after_the_present() {
    let heartbeat = Kind::Heartbeat(Heartbeat { cursor: cursor(3) });
    for (end, last) in [(heartbeat, "run1:3"), (batch(vec![at(5, 2)], 5), "run1:2")] {
        let agent = agent(3, vec![batch(vec![at(2, 0)], 2), end]);
        let output = run(&agent, &["watch", "--no-follow", "--last", "9", "-o", "compact"]).await;
        assert_eq!(codes(&output), ["2"]);
        let stderr = text(&output.stderr);
        assert!(stderr.ends_with(&format!(": continue with --after {last}\n")), "{stderr}");
        assert_eq!(agent.received().watches[0].replay_last, 9);
    }
}

#[tokio::test]
async fn without_following_an_empty_history_ends_at_once() {
    let output = run(&agent(0, vec![]), &["watch", "--no-follow", "-o", "compact"]).await;
    assert_eq!((text(&output.stdout), output.status.code()), ("", Some(0)));
}

/// A run of the agent that began after its history was read has another end.
#[tokio::test]
async fn without_following_a_restarted_agent_ends_the_watch() {
    let node = GetNodeResponse { instance_id: "run0".to_owned(), ..Default::default() };
    let history = Some(History { last_sequence: 9, ..Default::default() });
    let node = GetNodeResponse { history, ..node };
    let exits = vec![started(DelayAccounting::On)];
    let agent = Agent::start(Script { node, exits, ..Script::default() });
    let output = run(&agent, &["watch", "--no-follow", "-o", "compact"]).await;
    assert_eq!((text(&output.stdout), output.status.code()), ("", Some(0)));
}

const SINCE: [&str; 5] = ["watch", "--no-follow", "--since", "2026-11-22T14:07:09.5Z", "-o"];

#[tokio::test]
async fn since_selects_by_the_time_of_the_exit() {
    let over = Kind::Lost(Lost { last_at: time(400), cursor: cursor(1), ..Lost::default() });
    let exits = vec![batch(vec![at(1, 0)], 1), over, batch(vec![at(2, 499), at(3, 500)], 3)];
    let agent = agent(3, exits);
    let output = run(&agent, &[&SINCE[..], &["compact"]].concat()).await;
    assert_eq!(codes(&output), ["3"]);
    assert!(!text(&output.stdout).contains("lost"), "{output:?}");
    assert!(!text(&output.stderr).contains("note"), "{output:?}");
}

#[tokio::test]
async fn a_history_that_does_not_reach_back_is_noted() {
    let short = agent(1, vec![batch(vec![at(1, 700)], 1)]);
    let output = run(&short, &[&SINCE[..], &["compact"]].concat()).await;
    assert_eq!(codes(&output), ["1"]);
    let note = "taskstatsctl: note: the agent's history of these exits begins at \
                2026-11-22T14:07:09.7Z only\n";
    assert!(text(&output.stderr).contains(note), "{output:?}");
    let output = run(&agent(0, vec![]), &[&SINCE[..], &["jsonl"]].concat()).await;
    let note = "note: the agent's history has none of these exits\n";
    assert!(text(&output.stderr).contains(note), "{output:?}");
}

/// A duration counts back from now: the exits of the test are older than any second ago.
#[tokio::test]
async fn since_accepts_a_duration() {
    let old = ExitEvent { received_at: Some(prost_types::Timestamp::default()), ..at(1, 0) };
    let agent = agent(1, vec![batch(vec![old], 1)]);
    let arguments = ["watch", "--no-follow", "--since", "1m", "-o", "compact"];
    let output = run(&agent, &arguments).await;
    assert_eq!((text(&output.stdout), output.status.code()), ("", Some(0)));
}
