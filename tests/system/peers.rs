//! gRPC clients in other languages. On a unix socket each one has its default options, among them
//! the `:authority` that it derives from the path of the socket.

use anyhow::{Context, Result};
use serde_json::{Value, json};
use taskstats_tests::agent::Agent;
use taskstats_tests::machine_lock::MachineLock;
use taskstats_tests::peer::Peer;
use taskstats_tests::tools;
use taskstats_tests::workload::Workload;

const SERVICE: &str = "taskstats.v1.TaskstatsService";

/// Python sends the percent-encoded path. C++, Ruby and PHP have the same core.
#[tokio::test]
async fn python_calls_a_unix_socket_with_its_defaults() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let agent = Agent::start().await?;
    call_by_reflection(&agent.url()).await
}

#[tokio::test]
async fn python_calls_a_network_port() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let agent = Agent::start_with(["--insecure", "--listen", "tcp://127.0.0.1:0"]).await?;
    let url = agent.listening_on("tcp://")?;
    call_by_reflection(url.strip_prefix("tcp://").context("no tcp address")?).await
}

#[tokio::test]
async fn go_calls_a_unix_socket_with_its_defaults() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let agent = Agent::start().await?;
    let mut peer = start("peer-go", &agent.url())?;
    lists_the_service(&mut peer).await?;
    calls_and_watches(&mut peer).await
}

/// Java sends the path as it is.
#[tokio::test]
async fn java_calls_a_unix_socket_with_its_defaults() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let agent = Agent::start().await?;
    let mut peer = start("peer-java", &agent.socket().display().to_string())?;
    lists_the_service(&mut peer).await?;
    calls_and_watches(&mut peer).await
}

/// grpc-js has no client for reflection.
#[tokio::test]
async fn node_calls_a_unix_socket_with_its_defaults() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let agent = Agent::start().await?;
    let mut peer = start("peer-node", &agent.url())?;
    calls_and_watches(&mut peer).await
}

/// Starts a client that calls for the statistics of this process, and then watches exits.
fn start(program: &str, target: &str) -> Result<Peer> {
    Peer::start(&tools::peer(program)?, [target, &std::process::id().to_string()])
}

/// A client without generated code reaches every method, and reads health and errors.
async fn call_by_reflection(target: &str) -> Result<()> {
    let mut peer = start("peer-python", target)?;
    lists_the_service(&mut peer).await?;
    assert_eq!(printed(&mut peer, "/refused").await?, "INVALID_ARGUMENT");
    let health = printed(&mut peer, "/health").await?;
    assert_eq!(health, json!({"": "SERVING", SERVICE: "SERVING"}));
    calls_and_watches(&mut peer).await
}

async fn lists_the_service(peer: &mut Peer) -> Result<()> {
    let services = printed(peer, "/services").await?;
    let names = services.as_array().context("no list")?;
    assert!(names.contains(&Value::from(SERVICE)), "{services}");
    Ok(())
}

async fn calls_and_watches(peer: &mut Peer) -> Result<()> {
    assert_eq!(printed(peer, "/task/stats/identity/pid").await?, std::process::id());
    printed(peer, "/message/started/cursor").await?;
    let ended = Workload::run(&["exit", "7"]).await?;
    assert_eq!(exit_code_of(peer, ended.pid).await?, 7);
    Ok(())
}

/// Returns a value of the next line, which is a JSON document.
async fn printed(peer: &mut Peer, pointer: &str) -> Result<Value> {
    let line: Value = serde_json::from_str(&peer.line().await?)?;
    Ok(line.pointer(pointer).with_context(|| format!("no {pointer} in {line}"))?.clone())
}

async fn exit_code_of(peer: &mut Peer, pid: u32) -> Result<Value> {
    loop {
        let message = printed(peer, "/message").await?;
        let events = message.pointer("/events/events").and_then(Value::as_array);
        let mut tasks = events.into_iter().flatten().filter_map(|event| event.get("task"));
        let found = tasks.find(|task| task.pointer("/identity/pid") == Some(&Value::from(pid)));
        if let Some(task) = found {
            return Ok(task.pointer("/exit/code").context("no exit code")?.clone());
        }
    }
}
