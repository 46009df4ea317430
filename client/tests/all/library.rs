//! The calls of the library.

use std::path::Path;
use std::time::Duration;

use taskstats_client::proto::GetNodeResponse;
use taskstats_client::proto::watch_exits_response::Kind;
use taskstats_client::{
    Attribution, Client, DelayAccounting, Error, Event, Owner, Scope, ServingStatus, TaskId,
    Threads, WatchRequest, Workloads,
};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use crate::records::{batch, code, cursor, exit, lost, of_cgroup, started, stats, workload};
use crate::scripted_agent::{Agent, End, KNOWN, SILENT, Script};

async fn connected(agent: &Agent) -> Client {
    Client::builder().connect(agent.target()).await.unwrap()
}

#[tokio::test]
async fn a_task_and_a_process_are_returned_as_sent() {
    let script = Script { stats: stats("sh"), threads: vec![stats("worker")], ..Script::default() };
    let agent = Agent::start(script);
    let client = connected(&agent).await;
    assert_eq!(client.pid(KNOWN).await.unwrap(), stats("sh"));
    let process = client.tgid(KNOWN, Threads::Include).await.unwrap();
    assert_eq!((process.stats, process.threads), (stats("sh"), vec![stats("worker")]));
    assert_eq!(client.tgid(KNOWN, Threads::Omit).await.unwrap().threads, []);
}

#[tokio::test]
async fn an_owner_is_returned_on_request() {
    let script = Script { stats: stats("sh"), workload: Some(workload()), ..Script::default() };
    let agent = Agent::start(script);
    let client = connected(&agent).await;
    assert_eq!(client.task(KNOWN).await.unwrap().owner, None);
    assert_eq!(client.tgid(KNOWN, Threads::Omit).await.unwrap().owner, None);
    assert_eq!(client.batch(&[KNOWN], &[]).await.unwrap()[0].owner, None);

    let client = client.with_workloads();
    let owner = Some(Owner { workload: workload(), attribution: Attribution::Observed });
    assert_eq!(client.task(KNOWN).await.unwrap().owner, owner);
    assert_eq!(client.tgid(KNOWN, Threads::Omit).await.unwrap().owner, owner);
    assert_eq!(client.batch(&[KNOWN], &[]).await.unwrap()[0].owner, owner);
}

#[tokio::test]
async fn a_stream_joins_exits_to_their_owners() {
    let known = of_cgroup(9, Attribution::Exact, exit(1, code(0)));
    let unknown = of_cgroup(8, Attribution::Exact, exit(2, code(0)));
    let exits = vec![
        started(DelayAccounting::On),
        Kind::Workloads(Workloads { workloads: vec![workload()] }),
        batch(vec![known, unknown], 2),
    ];
    let agent = Agent::start(Script { exits, end: End::Cleanly, ..Script::default() });
    let mut exits = connected(&agent).await.watch(WatchRequest::new()).await.unwrap();
    let mut owners = Vec::new();
    while let Some(event) = exits.next().await {
        let Event::Exits(batch) = event.unwrap() else { continue };
        owners.extend(batch.events.iter().map(|exit| exits.workload(exit).cloned()));
    }
    assert_eq!(owners, [Some(workload()), None]);
}

#[tokio::test]
async fn a_missing_id_is_an_entry_with_an_error() {
    let agent = Agent::start(Script { stats: stats("sh"), ..Script::default() });
    let entries = connected(&agent).await.batch(&[KNOWN, 7], &[KNOWN]).await.unwrap();
    let ids: Vec<_> = entries.iter().map(|entry| entry.id).collect();
    assert_eq!(ids, [TaskId::Pid(KNOWN), TaskId::Pid(7), TaskId::Tgid(KNOWN)]);
    assert!(entries[0].stats.is_ok());
    assert!(matches!(entries[1].stats, Err(Error::NoSuchTask { .. })));
    assert!(entries[2].stats.is_ok());
}

#[tokio::test]
async fn the_agent_receives_the_deadline() {
    let node = GetNodeResponse { node_name: "node7".to_owned(), ..Default::default() };
    let agent = Agent::start(Script { node: node.clone(), ..Script::default() });
    let builder = Client::builder().deadline(Duration::from_secs(3));
    let client = builder.connect(agent.target()).await.unwrap();
    assert_eq!(client.node().await.unwrap(), node);
    let received = agent.received();
    let timeout = received.metadata.as_ref().unwrap().get("grpc-timeout").unwrap();
    assert_eq!(timeout, "3000000u");
}

#[tokio::test]
async fn a_call_without_a_response_ends_at_its_deadline() {
    let agent = Agent::start(Script::default());
    let deadline = Duration::from_millis(20);
    let client = Client::builder().deadline(deadline).connect(agent.target()).await.unwrap();
    let error = client.pid(SILENT).await.unwrap_err();
    assert!(
        matches!(error, Error::DeadlineExceeded { deadline: exceeded } if exceeded == deadline)
    );
}

#[tokio::test]
async fn a_stream_has_every_kind_of_message_in_order() {
    let exits = vec![
        started(DelayAccounting::On),
        batch(vec![exit(1, code(0)), exit(2, code(7))], 2),
        lost(Some(12)),
        taskstats_client::proto::watch_exits_response::Kind::Heartbeat(
            taskstats_client::Heartbeat { cursor: cursor(14) },
        ),
    ];
    let agent = Agent::start(Script { exits, end: End::Cleanly, ..Script::default() });
    let request = WatchRequest::new()
        .cpus("0-1")
        .scope(Scope::Processes)
        .max_batch_delay(Duration::from_millis(10));
    let mut stream = connected(&agent).await.watch(request).await.unwrap();
    assert!(matches!(stream.next().await, Some(Ok(Event::Started(s))) if s.node_name == "node7"));
    assert!(matches!(stream.next().await, Some(Ok(Event::Exits(b))) if b.events.len() == 2));
    assert!(matches!(stream.next().await, Some(Ok(Event::Lost(l))) if l.count == Some(12)));
    assert!(matches!(stream.next().await, Some(Ok(Event::Heartbeat(h))) if h.cursor == cursor(14)));
    assert!(stream.next().await.is_none());
    let received = agent.received();
    let request = &received.watches[0];
    assert_eq!((request.cpumask.as_str(), request.scope()), ("0-1", Scope::Processes));
}

#[tokio::test]
async fn a_stream_ends_after_its_error() {
    let details = ErrorDetails::with_retry_info(Some(Duration::from_secs(2)));
    let status = Status::with_error_details(Code::Unavailable, "the agent is draining", details);
    let agent = Agent::start(Script { end: End::With(status), ..Script::default() });
    let mut stream = connected(&agent).await.watch(WatchRequest::new()).await.unwrap();
    let error = stream.next().await.unwrap().unwrap_err();
    let wait = Some(Duration::from_secs(2));
    assert!(matches!(error, Error::Unavailable { retry_after, .. } if retry_after == wait));
    assert!(stream.next().await.is_none());
}

#[tokio::test]
async fn the_details_of_a_status_are_data() {
    let mut details = ErrorDetails::new();
    details.add_bad_request_violation("cpumask", "\"x\" is not a list");
    let refusal = Status::with_error_details(Code::InvalidArgument, "bad cpumask", details);
    let agent = Agent::start(Script { refusal: Some(refusal), ..Script::default() });
    let error = connected(&agent).await.watch(WatchRequest::new().cpus("x")).await.unwrap_err();
    let Error::InvalidArgument { field, description, message } = error else {
        panic!("not an invalid argument: {error:?}")
    };
    assert_eq!((field.as_str(), message.as_str()), ("cpumask", "bad cpumask"));
    assert_eq!(description, "\"x\" is not a list");
}

#[tokio::test]
async fn a_target_without_an_agent_is_unreachable() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("none.sock");
    for target in [format!("unix://{}", path.display()), "tcp://127.0.0.1:1".to_owned()] {
        let error = Client::connect(&target).await.unwrap_err();
        assert!(error.root_cause().unwrap().contains("os error"), "{error:?}");
        assert!(
            matches!(error, Error::Unreachable { target: tried, .. } if tried.to_string() == target)
        );
    }
    assert!(matches!(Client::connect("nowhere").await, Err(Error::InvalidTarget(_))));
}

#[tokio::test]
async fn health_is_checked_by_name() {
    let agent = Agent::start(Script::default());
    let client = connected(&agent).await;
    assert_eq!(client.health("").await.unwrap(), ServingStatus::Serving);
    let error = client.health("other").await.unwrap_err();
    assert!(matches!(error, Error::NoSuchService { service } if service == "other"));
}

/// A broken connection differs from a refusal, and from an agent that is gone.
#[tokio::test]
async fn the_stream_of_an_agent_that_dies_is_disconnected_and_the_next_call_unreachable() {
    let (agent, kill) = dying_agent().await;
    let client = Client::connect(agent.path().to_str().unwrap()).await.unwrap();
    let mut stream = client.watch(WatchRequest::new()).await.unwrap();
    assert!(matches!(stream.next().await, Some(Ok(Event::Started(_)))));
    kill.send(()).unwrap();
    let error = stream.next().await.unwrap().unwrap_err();
    assert!(matches!(error, Error::Disconnected { .. }), "{error:?}");
    std::fs::remove_file(agent.path()).unwrap();
    let error = client.node().await.unwrap_err();
    assert!(matches!(error, Error::Unreachable { .. }), "{error:?}");
    assert!(!Path::new(&agent.path()).exists());
}

/// Starts a relay in front of an agent, which closes its connection when the sender fires.
async fn dying_agent() -> (Relay, tokio::sync::oneshot::Sender<()>) {
    let exits = vec![started(DelayAccounting::On)];
    let agent = Agent::start(Script { exits, ..Script::default() });
    let directory = tempfile::tempdir().unwrap();
    let listener = tokio::net::UnixListener::bind(directory.path().join("relay.sock")).unwrap();
    let (kill, killed) = tokio::sync::oneshot::channel();
    let behind = agent.path();
    tokio::spawn(async move {
        let (mut front, _) = listener.accept().await.unwrap();
        let mut back = tokio::net::UnixStream::connect(behind).await.unwrap();
        tokio::select! {
            _ = tokio::io::copy_bidirectional(&mut front, &mut back) => {}
            _ = killed => {}
        }
    });
    (Relay { directory, _agent: agent }, kill)
}

struct Relay {
    directory: tempfile::TempDir,
    _agent: Agent,
}

impl Relay {
    fn path(&self) -> std::path::PathBuf {
        self.directory.path().join("relay.sock")
    }
}
