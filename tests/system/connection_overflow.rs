//! Connections for which there is no room.

use anyhow::{Context, Result};
use nix::sys::signal::Signal;
use taskstats_proto::v1::{GetNodeRequest, Limit};
use taskstats_tests::agent::{Agent, Launch};
use taskstats_tests::binaries::{self, WORKSPACE};
use taskstats_tests::client::{Client, connect, service};
use taskstats_tests::http2::{Kind, Raw};
use taskstats_tests::machine_lock::MachineLock;
use taskstats_tests::peer::Peer;
use taskstats_tests::process;
use taskstats_tests::tools;
use taskstats_tests::user::User;
use taskstats_tests::watch::Watch;
use tonic::Code;
use tonic::transport::Channel;

use crate::command::taskstatsctl;
use crate::support::{assert_busy, get_pid, refusal_in, refused, until_counted, until_it_works};

/// One connection, and no share of it for others.
const ONE: [&str; 4] = ["--max-connections", "1", "--principal-share", "100"];
/// Someone else than the one who runs the tests.
const OTHER: User = User { uid: 65001, gid: 65001 };
/// More connections at once than are told why they are closed.
const CROWD: u64 = 200;
/// How many of them are, at most.
const TOLD: usize = 64;
/// What grpcurl ends with: this plus the status code.
const STATUS_OFFSET: i32 = 64;

/// An agent whose only connection is taken, and who took it.
async fn full(arguments: &[&str]) -> Result<(Agent, Client)> {
    let agent = Agent::start_with([&ONE[..], arguments].concat()).await?;
    agent.let_everybody_connect()?;
    let mut client = service(&agent.url()).await?;
    get_pid(&mut client, 1).await?;
    Ok((agent, client))
}

async fn reflected(channel: Channel) -> Code {
    use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
    let mut client = ServerReflectionClient::new(channel);
    let asked = client.server_reflection_info(tokio_stream::empty()).await;
    asked.map_or_else(|status| status.code(), |_| Code::Ok)
}

/// Each of its calls is answered with the limit and when to come back; those that are open go on, and there
/// is room again when one of them ends.
#[tokio::test]
async fn a_connection_too_many_is_told_so() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let (agent, mut first) = full(&[]).await?;
    let channel = connect(&agent.url()).await?;
    let mut second = Client::new(channel.clone());
    // At once, since the connection has a second. How often a slow machine connects is not asked here.
    let mut again = second.clone();
    let (pid, node, watch, code) = tokio::join!(
        get_pid(&mut second, 1),
        again.get_node(GetNodeRequest {}),
        Watch::everything(&channel),
        reflected(channel.clone()),
    );
    assert_busy(&refusal_in(pid)?, "--max-connections");
    assert_busy(&refused(node)?, "--max-connections");
    assert_busy(&refusal_in(watch)?, "--max-connections");
    assert_eq!(code, Code::ResourceExhausted);
    get_pid(&mut first, 1).await?;
    drop(first);
    until_it_works(&mut second).await
}

/// However many calls it makes, it is counted once.
#[tokio::test]
async fn a_connection_too_many_is_counted_once() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let (agent, mut client) = full(&[]).await?;
    let mut raw = Raw::greeted(&agent.url()).await?;
    for stream in [1, 3, 5, 7] {
        raw.begin(stream, "/taskstats.v1.TaskstatsService/GetPid").await?;
    }
    let frames = raw.to_end().await?;
    let answers = frames.iter().filter(|kind| **kind == Kind::Headers as u8);
    assert_eq!(answers.count(), 4, "{frames:?}");
    until_counted(&mut client, Limit::Connections, 1).await
}

/// It is told to go, also if it never calls, and cut off if it does not speak at all.
#[tokio::test]
async fn a_connection_too_many_does_not_stay() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let (agent, mut client) = full(&[]).await?;
    let descriptors = process::descriptors(agent.pid()?)?;
    let greeted = Raw::greeted(&agent.url()).await?;
    let silent = Raw::connect(&agent.url()).await?;
    assert!(greeted.to_end().await?.contains(&(Kind::GoAway as u8)));
    silent.to_end().await?;
    until_counted(&mut client, Limit::Connections, 2).await?;
    process::lets_go(agent.pid()?, descriptors).await
}

/// So many are told, and the rest is closed at once: each is counted, and none is left.
#[tokio::test]
async fn a_crowd_is_closed() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let (agent, mut client) = full(&[]).await?;
    let descriptors = process::descriptors(agent.pid()?)?;
    let mut crowd = Vec::new();
    for _ in 0..CROWD {
        crowd.push(Raw::connect(&agent.url()).await?);
    }
    until_counted(&mut client, Limit::Connections, CROWD).await?;
    assert!(process::descriptors(agent.pid()?)? <= descriptors + TOLD, "more were kept");
    let mut told = 0;
    for raw in crowd {
        told += usize::from(raw.to_end().await?.contains(&(Kind::Settings as u8)));
    }
    // As many as there is room for, and another one in each place that was left meanwhile.
    assert!(told >= TOLD, "{told} were told");
    process::lets_go(agent.pid()?, descriptors).await?;
    get_pid(&mut client, 1).await?;
    Ok(())
}

/// An agent is not to be restarted for having many callers: whoever may ask for its health is answered.
#[tokio::test]
async fn an_agent_without_room_tells_its_health() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let allow = ["--allow", "uid:0=query,node", "--allow", "uid:65001=query"];
    let (agent, mut client) = full(&allow).await?;
    let said = taskstatsctl(&agent.url(), &["health"]).await?;
    assert_eq!(said.code, Some(0), "{said:?}");
    let said = taskstatsctl(&agent.url(), &["health", "--service", "no.such.Service"]).await?;
    assert_eq!(said.code, Some(1), "{said:?}");
    let url = agent.url();
    let said = OTHER.run(&binaries::taskstatsctl()?, &["--target", &url, "health"]).await?;
    assert!(said.stderr.contains("role node"), "{said:?}");
    until_counted(&mut client, Limit::Connections, 3).await
}

/// gRPC libraries of others see the code and the details, as they do on a connection with room.
#[tokio::test]
async fn grpcurl_is_told_when_to_come_back() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let launch = Launch::new()?.listen_privately().arguments(ONE);
    let agent = launch.arguments(["--insecure", "--listen", "tcp://127.0.0.1:0"]).start().await?;
    let mut first = service(&agent.url()).await?;
    get_pid(&mut first, 1).await?;
    let url = agent.listening_on("tcp://")?;
    let address = url.strip_prefix("tcp://").context("no tcp address")?;
    let directory = format!("{WORKSPACE}/proto");
    let said = Peer::run(
        &tools::grpcurl()?,
        [
            "-plaintext",
            "-format-error",
            "-import-path",
            &directory,
            "-proto",
            "taskstats/v1/taskstats.proto",
            address,
            "taskstats.v1.TaskstatsService/GetNode",
        ],
    )
    .await?;
    let code = STATUS_OFFSET + i32::from(Code::ResourceExhausted);
    assert_eq!(said.code, Some(code), "{said:?}");
    assert!(said.stderr.contains("--max-connections"), "{said:?}");
    assert!(said.stderr.contains("google.rpc.RetryInfo"), "{said:?}");
    get_pid(&mut first, 1).await?;
    Ok(())
}

/// They do not hold up the agent's end.
#[tokio::test]
async fn they_do_not_hold_up_the_end() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let (mut agent, mut client) = full(&["--drain-timeout", "1h"]).await?;
    let (greeted, silent) = (Raw::greeted(&agent.url()).await?, Raw::connect(&agent.url()).await?);
    until_counted(&mut client, Limit::Connections, 2).await?;
    agent.signal(Signal::SIGTERM)?;
    assert!(agent.ended().await?.success());
    drop((greeted, silent));
    Ok(())
}
