//! Limits of callers: the errors beyond them, and the service for other callers.

use anyhow::{Context, Result};
use nix::sys::signal::Signal;
use taskstats_proto::v1::{BatchGetRequest, GetPidRequest, GetPidResponse, Limit};
use taskstats_tests::agent::Agent;
use taskstats_tests::binaries;
use taskstats_tests::client::{Client, connect, service};
use taskstats_tests::deadline::within;
use taskstats_tests::detailed_status::DetailedStatus;
use taskstats_tests::health::health_of;
use taskstats_tests::http2::{Frame, Kind, Raw};
use taskstats_tests::machine_lock::MachineLock;
use taskstats_tests::user::User;
use taskstats_tests::watch::Watch;
use taskstats_tests::workload::Workload;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::Channel;
use tonic::{Code, Request};
use tonic_prost::ProstCodec;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;

use crate::support::{
    assert_busy, count_refused as count, get_pid, refusal_in, refused, until_counted,
    until_it_works,
};

/// Another user than the one that runs the tests.
const OTHER: User = User { uid: 65001, gid: 65001 };
const GET_PID: &str = "/taskstats.v1.TaskstatsService/GetPid";
/// More streams than a peer may reset in a short time.
const RESETS: u32 = 5000;

/// One user cannot use all connections, watchers or calls: another user can still connect.
#[tokio::test]
async fn one_user_leaves_a_share_for_others() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let agent = Agent::start_with(["--max-connections", "4", "--max-watchers", "2"]).await?;
    agent.allow_all_users()?;
    let channel = connect(&agent.url()).await?;
    let _watch = Watch::everything(&channel).await?;
    let refusal = refusal_in(Watch::everything(&channel).await)?;
    assert_busy(&refusal, "--principal-share");
    let mut second = service(&agent.url()).await?;
    get_pid(&mut second, 1).await?;
    let refusal = refusal_in(get_pid(&mut service(&agent.url()).await?, 1).await)?;
    assert_busy(&refusal, "--principal-share");
    assert!(refusal.message.contains("holds 2 of 4 connections"), "{refusal:?}");
    let url = agent.url();
    let watch = ["--target", &url, "watch", "--number", "1", "--last", "1"];
    Workload::run(&["exit", "0"]).await?;
    let output = OTHER.run(&binaries::taskstatsctl()?, &watch).await?;
    assert_eq!(output.code, Some(0), "{output:?}");
    Ok(())
}

/// Watchers over the limit are counted.
#[tokio::test]
async fn refused_watchers_are_counted() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let agent = Agent::start_with(["--max-watchers", "1"]).await?;
    let channel = connect(&agent.url()).await?;
    let _watch = Watch::everything(&channel).await?;
    assert_busy(&refusal_in(Watch::everything(&channel).await)?, "--max-watchers");
    assert_eq!(count(&mut Client::new(channel), Limit::Watchers).await?, 1);
    Ok(())
}

/// Begins a call without sending its request, and retries while another call is in the way.
async fn half_a_call(channel: Channel) -> Result<()> {
    let mut grpc = Grpc::new(channel);
    loop {
        grpc.ready().await?;
        let never = tokio_stream::pending::<GetPidRequest>();
        let codec = ProstCodec::<GetPidRequest, GetPidResponse>::default();
        let path = PathAndQuery::from_static(GET_PID);
        drop(grpc.client_streaming(Request::new(never), path, codec).await);
    }
}

/// Calls that wait for their requests count against the limit, and others get a retry delay. Health
/// checks still succeed, and the limit is free again when such a call is cancelled.
#[tokio::test]
async fn calls_in_flight_have_a_limit() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let agent = Agent::start_with(["--max-calls", "1"]).await?;
    let mut client = service(&agent.url()).await?;
    let half = tokio::spawn(half_a_call(connect(&agent.url()).await?));
    let refused_one = async {
        loop {
            if let Err(status) =
                client.get_pid(GetPidRequest { pid: 1, ..Default::default() }).await
            {
                return DetailedStatus::from(&status);
            }
        }
    };
    assert_busy(&within("a refusal", refused_one).await?, "--max-calls");
    let output = crate::command::taskstatsctl(&agent.url(), &["health"]).await?;
    assert_eq!(output.code, Some(0), "{output:?}");
    half.abort();
    until_it_works(&mut client).await?;
    assert!(count(&mut client, Limit::Calls).await? >= 1);
    Ok(())
}

/// A caller that exceeds its rate gets a retry delay, and succeeds after it; another caller is not
/// affected.
#[tokio::test]
async fn calls_have_a_rate() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let agent = Agent::start_with(["--max-call-rate", "2"]).await?;
    agent.allow_all_users()?;
    let mut client = service(&agent.url()).await?;
    let too_often = async {
        loop {
            if let Err(status) =
                client.get_pid(GetPidRequest { pid: 1, ..Default::default() }).await
            {
                return DetailedStatus::from(&status);
            }
        }
    };
    let refusal = within("a refusal", too_often).await?;
    assert_busy(&refusal, "--max-call-rate");
    assert!(refusal.message.contains("uid 0"), "{refusal:?}");
    let output = OTHER
        .run(&binaries::taskstatsctl()?, &["--target", &agent.url(), "get", "pid", "1"])
        .await?;
    assert_eq!(output.code, Some(0), "{output:?}");
    // A new connection does not make another caller.
    let mut again = service(&agent.url()).await?;
    let exhausted = async {
        while again.get_pid(GetPidRequest { pid: 1, ..Default::default() }).await.is_ok() {}
    };
    within("a refusal on a new connection", exhausted).await?;
    until_it_works(&mut client).await?;
    let counted = async {
        loop {
            if let Ok(count) = count(&mut client, Limit::CallRate).await {
                return count;
            }
        }
    };
    assert!(within("a response to GetNode", counted).await? >= 2);
    Ok(())
}

/// A request that is too long is refused by its call, and the connection continues.
#[tokio::test]
async fn requests_have_a_size_limit() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let agent = Agent::start_with(["--max-request-size", "1KiB"]).await?;
    let mut client = service(&agent.url()).await?;
    let pids = vec![u32::MAX; 1000];
    let refusal = refused(
        client.batch_get(BatchGetRequest { pids, tgids: Vec::new(), ..Default::default() }).await,
    )?;
    assert_eq!((refusal.code, refusal.retry), (Code::ResourceExhausted, false), "{refusal:?}");
    assert!(refusal.message.contains("--max-request-size"), "{refusal:?}");
    client
        .batch_get(BatchGetRequest { pids: vec![1], tgids: Vec::new(), ..Default::default() })
        .await?;
    assert_eq!(count(&mut client, Limit::RequestSize).await?, 1);
    Ok(())
}

/// Headers beyond the limit are refused by their call as well. HTTP/2 refuses those that no client
/// sends which respects the advertised limit, and they do not reach the service.
#[tokio::test]
async fn headers_have_a_size_limit() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let agent = Agent::start_with(["--max-header-size", "1KiB"]).await?;
    let mut client = service(&agent.url()).await?;
    let with_header = |length: usize| {
        let mut request = Request::new(GetPidRequest { pid: 1, ..Default::default() });
        let value = "x".repeat(length).parse().context("a value that is none");
        value.map(|value| {
            request.metadata_mut().insert("x-long", value);
            request
        })
    };
    let refusal = refused(client.get_pid(with_header(1100)?).await)?;
    assert_eq!((refusal.code, refusal.retry), (Code::ResourceExhausted, false), "{refusal:?}");
    assert!(refusal.message.contains("--max-header-size"), "{refusal:?}");
    let refusal = refused(client.get_pid(with_header(60_000)?).await)?;
    assert!(refusal.message.contains("--max-header-size"), "{refusal:?}");
    refused(client.get_pid(with_header(100_000)?).await)?;
    client.get_pid(with_header(100)?).await?;
    assert_eq!(count(&mut client, Limit::HeaderSize).await?, 2);
    Ok(())
}

/// The path counts among the headers; it could otherwise be as long as all that HTTP/2 reads.
#[tokio::test]
async fn a_path_has_a_size_limit() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let agent = Agent::start_with(["--max-header-size", "1KiB"]).await?;
    let channel = connect(&agent.url()).await?;
    let asked = async |length: usize| {
        let mut grpc = Grpc::new(channel.clone());
        grpc.ready().await?;
        let path = PathAndQuery::try_from(format!("{GET_PID}?{}", "x".repeat(length)))?;
        let codec = ProstCodec::<GetPidRequest, GetPidResponse>::default();
        anyhow::Ok(
            grpc.unary(Request::new(GetPidRequest { pid: 1, ..Default::default() }), path, codec)
                .await,
        )
    };
    let refusal = refused(asked(1024).await?)?;
    assert!(refusal.message.contains("--max-header-size"), "{refusal:?}");
    asked(100).await??;
    assert_eq!(count(&mut Client::new(channel.clone()), Limit::HeaderSize).await?, 1);
    Ok(())
}

/// Requests for health and reflection have names. Many of them are allowed at once, so each must be
/// small.
#[tokio::test]
async fn names_have_a_size_limit() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let agent = Agent::start().await?;
    let channel = connect(&agent.url()).await?;
    for (length, code) in [(4000, Code::NotFound), (5000, Code::ResourceExhausted)] {
        let asked = health_of(&channel, &"x".repeat(length)).await;
        let refusal = refusal_in(asked)?;
        assert_eq!(refusal.code, code, "{refusal:?}");
        let is_reported = refusal.message.contains("4096 bytes");
        assert_eq!(is_reported, length > 4096, "{refusal:?}");
    }
    assert_eq!(count(&mut Client::new(channel.clone()), Limit::RequestSize).await?, 1);
    for (length, is_answered) in [(4000, true), (5000, false)] {
        let symbol = MessageRequest::FileContainingSymbol("x".repeat(length));
        let request = ServerReflectionRequest {
            message_request: Some(symbol),
            ..ServerReflectionRequest::default()
        };
        let mut client = ServerReflectionClient::new(channel.clone());
        let mut answers = client.server_reflection_info(tokio_stream::once(request)).await?;
        // There is no such symbol. A longer one ends the stream without a message.
        let response = answers.get_mut().message().await;
        assert_eq!(response.is_err_and(|status| status.code() == Code::NotFound), is_answered);
    }
    Ok(())
}

/// A connection that has all of its streams in use is counted each time, and its caller named in
/// the log; another one does not notice.
#[tokio::test]
async fn a_connection_with_all_of_its_streams_in_use_is_counted() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let agent = Agent::start_with(["--max-streams", "2"]).await?;
    let mut client = service(&agent.url()).await?;
    let mut raw = Raw::connected_with_preface(&agent.url()).await?;
    raw.begin(1, GET_PID).await?;
    raw.exchange(&[]).await?;
    assert_eq!(count(&mut client, Limit::Streams).await?, 0);
    raw.begin(3, GET_PID).await?;
    until_counted(&mut client, Limit::Streams, 1).await?;
    raw.send(&Frame::new(Kind::RstStream, 3, &[0, 0, 0, 8])).await?;
    raw.exchange(&[]).await?;
    raw.begin(5, GET_PID).await?;
    until_counted(&mut client, Limit::Streams, 2).await?;
    let log = agent.stderr()?;
    let warning = log.lines().find(|line| line.contains("reached: ")).context("no warning")?;
    assert!(warning.contains("--max-streams") && warning.contains("uid 0"), "{warning}");
    Ok(())
}

/// An idle connection gets GOAWAY; one with a stream stays open.
#[tokio::test]
async fn connections_without_calls_are_closed() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let agent = Agent::start_with(["--idle-timeout", "1s"]).await?;
    let channel = connect(&agent.url()).await?;
    let mut watch = Watch::everything(&channel).await?;
    let idle = Raw::connected_with_preface(&agent.url()).await?;
    let silent = Raw::connect(&agent.url()).await?;
    assert!(idle.to_end().await?.contains(&(Kind::GoAway as u8)));
    // A peer that never sent HTTP/2 cannot receive GOAWAY.
    silent.to_end().await?;
    let ended = Workload::run(&["exit", "0"]).await?;
    watch.exit_of(ended.pid).await?;
    assert!(count(&mut Client::new(channel), Limit::IdleTime).await? >= 2);
    Ok(())
}

/// Streams that are opened and reset at once end their connection, and no other (CVE-2023-44487).
#[tokio::test]
async fn rapid_resets_end_their_connection() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let agent = Agent::start().await?;
    let mut client = service(&agent.url()).await?;
    get_pid(&mut client, 1).await?;
    let mut raw = Raw::connected_with_preface(&agent.url()).await?;
    let reset = async {
        for number in 0..RESETS {
            let stream = 2 * number + 1;
            raw.begin(stream, "/").await?;
            raw.send(&Frame::new(Kind::RstStream, stream, &[0, 0, 0, 8])).await?;
        }
        Ok::<_, anyhow::Error>(())
    };
    // The agent may be done with it before all are sent.
    let _sent = reset.await;
    assert!(raw.to_end().await?.contains(&(Kind::GoAway as u8)));
    get_pid(&mut client, 1).await?;
    assert_eq!(count(&mut client, Limit::Protocol).await?, 1);
    Ok(())
}

/// Headers without end do so too (CVE-2024-27316).
#[tokio::test]
async fn headers_without_end_end_their_connection() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let agent = Agent::start().await?;
    let mut client = service(&agent.url()).await?;
    let mut raw = Raw::connected_with_preface(&agent.url()).await?;
    raw.send(&Frame::new(Kind::Headers, 1, &[])).await?;
    let more = Frame::new(Kind::Continuation, 1, &[]);
    let flood = async { while raw.send(&more).await.is_ok() {} };
    within("the end of the flood", flood).await?;
    get_pid(&mut client, 1).await?;
    assert_eq!(count(&mut client, Limit::Protocol).await?, 1);
    Ok(())
}

/// A peer that connects without sending anything does not delay the agent's end.
#[tokio::test]
async fn a_silent_peer_does_not_delay_the_agent() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let mut agent = Agent::start_with(["--drain-timeout", "1h"]).await?;
    let silent = Raw::connect(&agent.url()).await?;
    let idle = Raw::connected_with_preface(&agent.url()).await?;
    get_pid(&mut service(&agent.url()).await?, 1).await?;
    agent.signal(Signal::SIGTERM)?;
    assert!(agent.ended().await?.success());
    drop((silent, idle));
    Ok(())
}

/// The command line prints what was refused, and has a specific exit code.
#[tokio::test]
async fn the_command_line_reports_a_limit() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let agent = Agent::start_with(["--max-watchers", "1"]).await?;
    let channel = connect(&agent.url()).await?;
    let _watch = Watch::everything(&channel).await?;
    let output = crate::command::taskstatsctl(&agent.url(), &["watch"]).await?;
    assert_eq!(output.code, Some(4), "{output:?}");
    assert!(
        output.stderr.contains("--max-watchers") && output.stderr.contains("10s"),
        "{output:?}"
    );
    let output = crate::command::taskstatsctl(&agent.url(), &["node"]).await?;
    assert!(output.stdout.contains("watchers refused"), "{output:?}");
    Ok(())
}
