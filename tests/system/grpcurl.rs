//! grpcurl, which knows the contract only from the agent's reflection service.

use anyhow::{Context, Result};
use serde_json::Value;
use taskstats_tests::agent::Agent;
use taskstats_tests::machine_lock::MachineLock;
use taskstats_tests::peer::{Peer, ProgramOutput};
use taskstats_tests::tools;
use taskstats_tests::workload::Workload;

use crate::support::NO_SUCH_TASK;

const SERVICE: &str = "taskstats.v1.TaskstatsService";
/// grpcurl ends with this plus the status code.
const STATUS_OFFSET: i32 = 64;
const NOT_FOUND: i32 = 5;
const INVALID_ARGUMENT: i32 = 3;

/// An address in the form of grpcurl's arguments.
struct Target {
    flags: Vec<&'static str>,
    address: String,
}

impl Target {
    fn unix(agent: &Agent) -> Self {
        let address = agent.socket().display().to_string();
        Self { flags: vec!["-plaintext", "-unix"], address }
    }

    fn tcp(agent: &Agent) -> Result<Self> {
        let url = agent.listening_on("tcp://")?;
        let address = url.strip_prefix("tcp://").context("no tcp address")?.to_owned();
        Ok(Self { flags: vec!["-plaintext"], address })
    }

    fn arguments<'a>(&'a self, flags: &[&'a str], rest: &[&'a str]) -> Vec<&'a str> {
        [&self.flags, flags, &[self.address.as_str()], rest].concat()
    }

    async fn run(&self, flags: &[&str], rest: &[&str]) -> Result<ProgramOutput> {
        Peer::run(&tools::grpcurl()?, self.arguments(flags, rest)).await
    }

    async fn call(&self, method: &str, request: &str) -> Result<ProgramOutput> {
        self.run(&["-format-error", "-d", request], &[&format!("{SERVICE}/{method}")]).await
    }
}

async fn both_targets() -> Result<(Agent, Vec<Target>)> {
    let agent = Agent::start_with(["--insecure", "--listen", "tcp://127.0.0.1:0"]).await?;
    let targets = vec![Target::unix(&agent), Target::tcp(&agent)?];
    Ok((agent, targets))
}

/// The services and their methods are found without a proto file.
#[tokio::test]
async fn grpcurl_finds_the_services() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let (_agent, targets) = both_targets().await?;
    for target in targets {
        let said = target.run(&[], &["list"]).await?;
        assert_eq!(said.code, Some(0), "{}", said.stderr);
        assert!(said.stdout.lines().any(|line| line == SERVICE), "{}", said.stdout);
        assert!(said.stdout.lines().any(|line| line == "grpc.health.v1.Health"), "{}", said.stdout);
        let said = target.run(&[], &["describe", SERVICE]).await?;
        for method in ["GetPid", "GetTgid", "BatchGet", "WatchExits", "GetNode"] {
            assert!(said.stdout.contains(&format!("rpc {method} ")), "{}", said.stdout);
        }
        let said = target.run(&[], &["describe", "taskstats.v1.TaskStats"]).await?;
        assert!(said.stdout.contains("message TaskStats"), "{}", said.stdout);
    }
    Ok(())
}

/// Requests and responses are JSON.
#[tokio::test]
async fn grpcurl_gets_a_task() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let (_agent, targets) = both_targets().await?;
    let pid = std::process::id();
    for target in targets {
        let said = target.call("GetPid", &format!(r#"{{"pid": {pid}}}"#)).await?;
        assert_eq!(said.code, Some(0), "{}", said.stderr);
        let response: Value = serde_json::from_str(&said.stdout)?;
        assert_eq!(response.pointer("/stats/identity/pid"), Some(&Value::from(pid)), "{response}");
        let said = target.call("GetNode", "{}").await?;
        let response: Value = serde_json::from_str(&said.stdout)?;
        assert_eq!(response.pointer("/exits/watchable"), Some(&Value::from(true)), "{response}");
    }
    Ok(())
}

/// An old grpcurl sends the path of the socket as the authority, which is none
/// (fullstorydev/grpcurl#442).
#[tokio::test]
async fn an_old_grpcurl_calls_a_unix_socket_with_its_defaults() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let agent = Agent::start().await?;
    let target = Target::unix(&agent);
    let listed = Peer::run(&tools::old_grpcurl()?, target.arguments(&[], &["list"])).await?;
    assert!(listed.stdout.lines().any(|line| line == SERVICE), "{listed:?}");
    Ok(())
}

/// The authority has no meaning on a unix socket. On a network port a value that is none is
/// refused.
#[tokio::test]
async fn any_authority_is_accepted_on_a_unix_socket_only() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let (_agent, targets) = both_targets().await?;
    for (target, is_accepted) in targets.iter().zip([true, false]) {
        let output = target.run(&["-authority", "%2Fnot/an authority"], &["list"]).await?;
        assert_eq!(output.code == Some(0), is_accepted, "{output:?}");
    }
    Ok(())
}

/// Errors come with their code and with details that a generic client can read.
#[tokio::test]
async fn grpcurl_reads_the_details_of_errors() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let (_agent, targets) = both_targets().await?;
    for target in targets {
        let missing = format!(r#"{{"pid": {NO_SUCH_TASK}}}"#);
        let said = target.call("GetPid", &missing).await?;
        assert_eq!(said.code, Some(STATUS_OFFSET + NOT_FOUND), "{}", said.stderr);
        assert!(said.stderr.contains("NO_SUCH_TASK"), "{}", said.stderr);
        let said = target.call("WatchExits", r#"{"cpumask": "1-0"}"#).await?;
        assert_eq!(said.code, Some(STATUS_OFFSET + INVALID_ARGUMENT), "{}", said.stderr);
        assert!(said.stderr.contains("google.rpc.BadRequest"), "{}", said.stderr);
        assert!(said.stderr.contains("cpumask"), "{}", said.stderr);
    }
    Ok(())
}

/// Exits are streamed as JSON when they happen.
#[tokio::test]
async fn grpcurl_watches_exits() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let (_agent, targets) = both_targets().await?;
    for target in targets {
        let method = format!("{SERVICE}/WatchExits");
        let arguments = target.arguments(&["-d", r#"{"scope": "SCOPE_PROCESSES"}"#], &[&method]);
        let mut peer = Peer::start(&tools::grpcurl()?, arguments)?;
        peer.line_with("\"started\"").await?;
        let ended = Workload::run(&["exit", "7"]).await?;
        peer.line_with(&format!("\"pid\": {}", ended.pid)).await?;
        peer.line_with("\"code\": 7").await?;
    }
    Ok(())
}
