//! Connections beyond the limit.

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
/// Another user than the one that runs the tests.
const OTHER: User = User { uid: 65001, gid: 65001 };
/// More connections than get a response that says why they are closed.
const CROWD: u64 = 200;
/// The number of those that get a response.
const REPORTED: usize = 8;
/// The exit code of grpcurl is this plus the status code.
const STATUS_OFFSET: i32 = 64;

/// An agent whose only connection is in use, and the channel that uses it.
async fn full(arguments: &[&str]) -> Result<(Agent, Client)> {
    let agent = Agent::start_with([&ONE[..], arguments].concat()).await?;
    agent.allow_all_users()?;
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

/// Each call on a connection beyond the limit gets the limit and a retry delay; open connections
/// continue, and the next one is accepted when one of them ends.
#[tokio::test]
async fn an_overflow_connection_gets_the_limit() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let (agent, mut first) = full(&[]).await?;
    let channel = connect(&agent.url()).await?;
    let mut second = Client::new(channel.clone());
    // At once, because the connection lives for a second. This does not test how fast a machine can
    // connect.
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

/// A connection is counted once, however many calls it makes.
#[tokio::test]
async fn an_overflow_connection_is_counted_once() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let (agent, mut client) = full(&[]).await?;
    let mut raw = Raw::connected_with_preface(&agent.url()).await?;
    for stream in [1, 3, 5, 7] {
        raw.begin(stream, "/taskstats.v1.TaskstatsService/GetPid").await?;
    }
    let frames = raw.to_end().await?;
    let answers = frames.iter().filter(|kind| **kind == Kind::Headers as u8);
    assert_eq!(answers.count(), 4, "{frames:?}");
    until_counted(&mut client, Limit::Connections, 1).await
}

/// A connection beyond the limit gets GOAWAY, also without a call, and is closed if its peer does
/// not send HTTP/2.
#[tokio::test]
async fn an_overflow_connection_is_closed() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let (agent, mut client) = full(&[]).await?;
    let descriptors = process::descriptors(agent.pid()?)?;
    let connected_with_preface = Raw::connected_with_preface(&agent.url()).await?;
    let silent = Raw::connect(&agent.url()).await?;
    assert!(connected_with_preface.to_end().await?.contains(&(Kind::GoAway as u8)));
    silent.to_end().await?;
    until_counted(&mut client, Limit::Connections, 2).await?;
    process::closes_descriptors(agent.pid()?, descriptors).await
}

/// A limited number of connections gets a response, and the others are closed at once; each is
/// counted, and none remains.
#[tokio::test]
async fn many_overflow_connections_are_closed() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let (agent, mut client) = full(&[]).await?;
    let descriptors = process::descriptors(agent.pid()?)?;
    let mut crowd = Vec::new();
    for _ in 0..CROWD {
        crowd.push(Raw::connect(&agent.url()).await?);
    }
    until_counted(&mut client, Limit::Connections, CROWD).await?;
    assert!(process::descriptors(agent.pid()?)? <= descriptors + REPORTED, "more were kept");
    let mut reported = 0;
    for raw in crowd {
        reported += usize::from(raw.to_end().await?.contains(&(Kind::Settings as u8)));
    }
    // The number that gets a response, and one more for each that ended meanwhile.
    assert!(reported >= REPORTED, "{reported} got a response");
    process::closes_descriptors(agent.pid()?, descriptors).await?;
    get_pid(&mut client, 1).await?;
    Ok(())
}

/// A full agent must not be restarted: any authorized caller can check its health.
#[tokio::test]
async fn a_full_agent_reports_its_health() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let allow = ["--allow", "uid:0=query,node", "--allow", "uid:65001=query"];
    let (agent, mut client) = full(&allow).await?;
    let output = taskstatsctl(&agent.url(), &["health"]).await?;
    assert_eq!(output.code, Some(0), "{output:?}");
    let output = taskstatsctl(&agent.url(), &["health", "--service", "no.such.Service"]).await?;
    assert_eq!(output.code, Some(1), "{output:?}");
    let url = agent.url();
    let output = OTHER.run(&binaries::taskstatsctl()?, &["--target", &url, "health"]).await?;
    assert!(output.stderr.contains("role node"), "{output:?}");
    until_counted(&mut client, Limit::Connections, 3).await
}

/// Other gRPC libraries get the code and the details, as on an accepted connection.
#[tokio::test]
async fn grpcurl_is_reported_when_to_come_back() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let launch = Launch::new()?.listen_privately().arguments(ONE);
    let agent = launch.arguments(["--insecure", "--listen", "tcp://127.0.0.1:0"]).start().await?;
    let mut first = service(&agent.url()).await?;
    get_pid(&mut first, 1).await?;
    let url = agent.listening_on("tcp://")?;
    let address = url.strip_prefix("tcp://").context("no tcp address")?;
    let directory = format!("{WORKSPACE}/proto");
    let output = Peer::run(
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
    assert_eq!(output.code, Some(code), "{output:?}");
    assert!(output.stderr.contains("--max-connections"), "{output:?}");
    assert!(output.stderr.contains("google.rpc.RetryInfo"), "{output:?}");
    get_pid(&mut first, 1).await?;
    Ok(())
}

/// Connections beyond the limit do not delay the agent's end.
#[tokio::test]
async fn overflow_connections_do_not_delay_the_end() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let (mut agent, mut client) = full(&["--drain-timeout", "1h"]).await?;
    let (connected_with_preface, silent) =
        (Raw::connected_with_preface(&agent.url()).await?, Raw::connect(&agent.url()).await?);
    until_counted(&mut client, Limit::Connections, 2).await?;
    agent.signal(Signal::SIGTERM)?;
    assert!(agent.ended().await?.success());
    drop((connected_with_preface, silent));
    Ok(())
}
