//! `taskstatsctl health`, by running the binary.

use tonic_health::ServingStatus;

use crate::agent::{Agent, Script};
use crate::command::{run, text};

fn with(health: ServingStatus) -> Agent {
    Agent::start(Script { health, ..Script::default() })
}

#[tokio::test]
async fn only_what_serves_is_a_success() {
    let table = [
        (ServingStatus::Serving, "SERVING\n", 0),
        (ServingStatus::NotServing, "NOT_SERVING\n", 1),
        (ServingStatus::Unknown, "UNKNOWN\n", 1),
    ];
    for (status, said, code) in table {
        let output = run(&with(status), &["health"]).await;
        assert_eq!(text(&output.stdout), said);
        assert_eq!(text(&output.stderr), "");
        assert_eq!(output.status.code(), Some(code), "{said}");
    }
}

#[tokio::test]
async fn a_service_that_the_agent_does_not_have_is_code_1_with_a_line() {
    let output = run(&with(ServingStatus::Serving), &["health", "--service", "other"]).await;
    assert_eq!(text(&output.stderr), "taskstatsctl: the agent has no service \"other\"\n");
    assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0));
}

#[tokio::test]
async fn health_has_the_forms_of_the_other_commands() {
    let agent = with(ServingStatus::NotServing);
    let output = run(&agent, &["health", "-o", "compact"]).await;
    assert_eq!(text(&output.stdout), "health service=\"\" status=NOT_SERVING\n");
    let output = run(&agent, &["health", "-o", "jsonl"]).await;
    assert_eq!(text(&output.stdout), "{\"status\":\"NOT_SERVING\"}\n");
}
