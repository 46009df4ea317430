//! `taskstatsctl health`, by running the binary.

use tonic_health::ServingStatus;

use crate::agent::{Agent, Script};
use crate::command::{run, text};

fn with(health: ServingStatus, service_health: ServingStatus) -> Agent {
    Agent::start(Script { health, service_health, ..Script::default() })
}

/// An agent that runs, and whose service cannot do its work, is not healthy.
#[tokio::test]
async fn only_what_serves_is_a_success() {
    use ServingStatus::{NotServing, Serving, Unknown};
    for (agent, service, said, code) in [
        (Serving, Serving, ["SERVING", "SERVING"], 0),
        (Serving, NotServing, ["SERVING", "NOT_SERVING"], 1),
        (NotServing, Serving, ["NOT_SERVING", "SERVING"], 1),
        (Unknown, Unknown, ["UNKNOWN", "UNKNOWN"], 1),
    ] {
        let output = run(&with(agent, service), &["health"]).await;
        let [whole, part] = said;
        let expected = format!("{whole:<16}the agent\n{part:<16}taskstats.v1.TaskstatsService\n");
        assert_eq!(text(&output.stdout), expected);
        assert_eq!(text(&output.stderr), "");
        assert_eq!(output.status.code(), Some(code), "{said:?}");
    }
}

#[tokio::test]
async fn one_service_alone_can_be_asked_for() {
    let agent = with(ServingStatus::Serving, ServingStatus::NotServing);
    for (service, said, code) in
        [("", "SERVING\n", 0), ("taskstats.v1.TaskstatsService", "NOT_SERVING\n", 1)]
    {
        let output = run(&agent, &["health", "--service", service]).await;
        assert_eq!((text(&output.stdout), output.status.code()), (said, Some(code)));
    }
}

#[tokio::test]
async fn a_service_that_the_agent_does_not_have_is_code_1_with_a_line() {
    let agent = with(ServingStatus::Serving, ServingStatus::Serving);
    let output = run(&agent, &["health", "--service", "other"]).await;
    assert_eq!(text(&output.stderr), "taskstatsctl: the agent has no service \"other\"\n");
    assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0));
}

#[tokio::test]
async fn health_has_the_forms_of_the_other_commands() {
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
