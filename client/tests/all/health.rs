//! `taskstatsctl health`, by running the binary.

use tonic_health::ServingStatus;

use crate::command::{run, text};
use crate::scripted_agent::{Agent, Script};

fn with(health: ServingStatus, service_health: ServingStatus) -> Agent {
    Agent::start(Script { health, service_health, ..Script::default() })
}

/// An agent whose service cannot work is not healthy, although it runs.
#[tokio::test]
async fn health_succeeds_if_everything_serves() {
    use ServingStatus::{NotServing, Serving, Unknown};
    for (agent, service, expected_status, code) in [
        (Serving, Serving, ["SERVING", "SERVING"], 0),
        (Serving, NotServing, ["SERVING", "NOT_SERVING"], 1),
        (NotServing, Serving, ["NOT_SERVING", "SERVING"], 1),
        (Unknown, Unknown, ["UNKNOWN", "UNKNOWN"], 1),
    ] {
        let output = run(&with(agent, service), &["health"]).await;
        let [whole, part] = expected_status;
        let expected = format!("{whole:<16}the agent\n{part:<16}taskstats.v1.TaskstatsService\n");
        assert_eq!(text(&output.stdout), expected);
        assert_eq!(text(&output.stderr), "");
        assert_eq!(output.status.code(), Some(code), "{expected_status:?}");
    }
}

#[tokio::test]
async fn one_service_can_be_checked_alone() {
    let agent = with(ServingStatus::Serving, ServingStatus::NotServing);
    for (service, expected_status, code) in
        [("", "SERVING\n", 0), ("taskstats.v1.TaskstatsService", "NOT_SERVING\n", 1)]
    {
        let output = run(&agent, &["health", "--service", service]).await;
        assert_eq!((text(&output.stdout), output.status.code()), (expected_status, Some(code)));
    }
}

#[tokio::test]
async fn an_unknown_service_is_one_line_and_code_1() {
    let agent = with(ServingStatus::Serving, ServingStatus::Serving);
    let output = run(&agent, &["health", "--service", "other"]).await;
    assert_eq!(text(&output.stderr), "taskstatsctl: the agent has no service \"other\"\n");
    assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0));
}

#[tokio::test]
async fn health_has_every_form_of_output() {
    let agent = with(ServingStatus::Serving, ServingStatus::NotServing);
    let output = run(&agent, &["health", "-o", "compact"]).await;
    assert_eq!(
        text(&output.stdout),
        "health service=\"\" status=SERVING\n\
         health service=taskstats.v1.TaskstatsService status=NOT_SERVING\n"
    );
    let output = run(&agent, &["health", "-o", "jsonl"]).await;
    assert_eq!(text(&output.stdout), "{\"status\":\"SERVING\"}\n{\"status\":\"NOT_SERVING\"}\n");
}
