//! Python's gRPC, which builds its messages from the agent's reflection.

use anyhow::{Context, Result};
use serde_json::{Value, json};
use taskstats_tests::agent::Agent;
use taskstats_tests::binaries::WORKSPACE;
use taskstats_tests::machine_lock::MachineLock;
use taskstats_tests::peer::Peer;
use taskstats_tests::tools;
use taskstats_tests::workload::Workload;

const SERVICE: &str = "taskstats.v1.TaskstatsService";

/// A client in another language, without generated code, can do everything: on a unix socket.
#[tokio::test]
async fn python_speaks_by_reflection_on_a_unix_socket() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let agent = Agent::start().await?;
    speak(&agent.url()).await
}

/// The same on a network port.
#[tokio::test]
async fn python_speaks_by_reflection_on_a_network_port() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let agent = Agent::start_with(["--insecure", "--listen", "tcp://127.0.0.1:0"]).await?;
    let url = agent.listening_on("tcp://")?;
    speak(url.strip_prefix("tcp://").context("no tcp address")?).await
}

async fn speak(target: &str) -> Result<()> {
    let script = format!("{WORKSPACE}/tests/peers/reflect.py");
    let pid = std::process::id();
    let mut python = Peer::start(&tools::python()?, [&script, target, &pid.to_string()])?;
    let services = said(&mut python, "/services").await?;
    let names = services.as_array().context("no list")?;
    assert!(names.contains(&Value::from(SERVICE)), "{services}");
    assert_eq!(said(&mut python, "/task/stats/identity/pid").await?, pid);
    assert_eq!(said(&mut python, "/refused").await?, "INVALID_ARGUMENT");
    let health = said(&mut python, "/health").await?;
    assert_eq!(health, json!({"": "SERVING", SERVICE: "SERVING"}));
    said(&mut python, "/message/started/cursor").await?;
    let ended = Workload::run(&["exit", "7"]).await?;
    assert_eq!(exit_code_of(&mut python, ended.pid).await?, 7);
    Ok(())
}

async fn said(python: &mut Peer, pointer: &str) -> Result<Value> {
    let line: Value = serde_json::from_str(&python.line().await?)?;
    Ok(line.pointer(pointer).with_context(|| format!("no {pointer} in {line}"))?.clone())
}

async fn exit_code_of(python: &mut Peer, pid: u32) -> Result<Value> {
    loop {
        let message = said(python, "/message").await?;
        let events = message.pointer("/events/events").and_then(Value::as_array);
        let mut tasks = events.into_iter().flatten().filter_map(|event| event.get("task"));
        let found = tasks.find(|task| task.pointer("/identity/pid") == Some(&Value::from(pid)));
        if let Some(task) = found {
            return Ok(task.pointer("/exit/code").context("no exit code")?.clone());
        }
    }
}
