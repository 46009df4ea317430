//! Compressed requests and responses.

use anyhow::{Context, Result};
use taskstats_proto::v1::watch_exits_response::Kind;
use taskstats_proto::v1::{BatchGetRequest, GetPidRequest, Limit, WatchExitsRequest};
use taskstats_tests::agent::Agent;
use taskstats_tests::client::{Client, connect};
use taskstats_tests::deadline::within;
use taskstats_tests::detailed_status::DetailedStatus;
use taskstats_tests::machine_lock::MachineLock;
use taskstats_tests::workload::Workload;
use tonic::codec::CompressionEncoding::Gzip;
use tonic::metadata::MetadataMap;
use tonic::{Code, Response, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;

use crate::support::{count_refused, refused};

/// The header with the encoding of a response.
const ENCODING: &str = "grpc-encoding";
/// Ids of a request that is longer than 64 KiB unless it is compressed.
const MANY_IDS: usize = 100_000;

fn encoding(metadata: &MetadataMap) -> Option<&str> {
    metadata.get(ENCODING).and_then(|value| value.to_str().ok())
}

/// Every service accepts requests that are compressed by gzip.
#[tokio::test]
async fn compressed_requests_are_accepted() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let agent = Agent::start().await?;
    let channel = connect(&agent.url()).await?;
    let pid = std::process::id();
    let mut client = Client::new(channel.clone()).send_compressed(Gzip);
    client.get_pid(GetPidRequest { pid, ..GetPidRequest::default() }).await?;
    let pids = vec![pid; 500];
    let results = client.batch_get(BatchGetRequest { pids, ..BatchGetRequest::default() }).await?;
    assert_eq!(results.into_inner().results.len(), 500);
    let mut health = HealthClient::new(channel.clone()).send_compressed(Gzip);
    health.check(HealthCheckRequest::default()).await?;
    let mut reflection = ServerReflectionClient::new(channel).send_compressed(Gzip);
    let request = ServerReflectionRequest {
        message_request: Some(MessageRequest::ListServices(String::new())),
        ..ServerReflectionRequest::default()
    };
    let mut listed = reflection.server_reflection_info(tokio_stream::once(request)).await?;
    within("the services", listed.get_mut().message()).await??.context("no services")?;
    Ok(())
}

/// A message has the same limit after decompression as without compression, and is counted as too
/// long.
#[tokio::test]
async fn a_message_that_grows_beyond_the_limit_is_rejected() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let agent = Agent::start().await?;
    let channel = connect(&agent.url()).await?;
    let mut client = Client::new(channel.clone()).send_compressed(Gzip);
    let pids = vec![1; MANY_IDS];
    let long =
        refused(client.batch_get(BatchGetRequest { pids, ..BatchGetRequest::default() }).await)?;
    assert_too_long(&long, "65536 bytes");
    let mut health = HealthClient::new(channel).send_compressed(Gzip);
    let request = HealthCheckRequest { service: "x".repeat(5000) };
    assert_too_long(&refused(health.check(request).await)?, "4096 bytes");
    assert_eq!(count_refused(&mut client, Limit::RequestSize).await?, 2);
    Ok(())
}

fn assert_too_long(refusal: &DetailedStatus, limit: &str) {
    assert_eq!((refusal.code, refusal.retry), (Code::ResourceExhausted, false), "{refusal:?}");
    let is_named = refusal.message.contains("--max-request-size");
    assert!(is_named && refusal.message.contains(limit), "{refusal:?}");
}

/// Bytes that are not gzip fail their call, and no other.
#[tokio::test]
async fn corrupt_compression_fails_its_call() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let agent = Agent::start().await?;
    let url = agent.url();
    let message = "\u{1}\0\0\0\u{4}gzip";
    assert_eq!(crate::attacks::status_of(&url, Some("gzip"), message).await?, Code::Internal);
    assert_eq!(crate::attacks::status_of(&url, Some("br"), message).await?, Code::Unimplemented);
    Ok(())
}

/// Without the flag, responses are not compressed even for a client that accepts it.
#[tokio::test]
async fn responses_are_not_compressed_by_default() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let agent = Agent::start().await?;
    let mut client = Client::new(connect(&agent.url()).await?).accept_compressed(Gzip);
    let response = client.get_pid(GetPidRequest { pid: 1, ..GetPidRequest::default() }).await?;
    assert_eq!(encoding(response.metadata()), None);
    Ok(())
}

/// With the flag, each method compresses its responses for clients that accept it, exit streams
/// too.
#[tokio::test]
async fn responses_are_compressed_for_clients_that_accept_it() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let agent = Agent::start_with(["--compression", "gzip"]).await?;
    let channel = connect(&agent.url()).await?;
    let pid = std::process::id();
    let mut plain = Client::new(channel.clone());
    let response = plain.get_pid(GetPidRequest { pid, ..GetPidRequest::default() }).await?;
    assert_eq!(encoding(response.metadata()), None, "the client does not accept it");
    let mut client = plain.accept_compressed(Gzip);
    let response = client.get_pid(GetPidRequest { pid, ..GetPidRequest::default() }).await?;
    assert_eq!(encoding(response.metadata()), Some("gzip"));
    let found = response.into_inner().stats.and_then(|stats| stats.identity);
    assert_eq!(found.and_then(|identity| identity.pid), Some(pid));
    let batch = BatchGetRequest { pids: vec![pid; 1000], ..BatchGetRequest::default() };
    assert_compressed(client.batch_get(batch).await)?;
    let mut health = HealthClient::new(channel).accept_compressed(Gzip);
    assert_compressed(health.check(HealthCheckRequest::default()).await)?;
    watch_compressed(&mut client).await
}

fn assert_compressed<T>(response: Result<Response<T>, Status>) -> Result<()> {
    assert_eq!(encoding(response?.metadata()), Some("gzip"));
    Ok(())
}

async fn watch_compressed(client: &mut Client) -> Result<()> {
    let response = client.watch_exits(WatchExitsRequest::default()).await?;
    assert_eq!(encoding(response.metadata()), Some("gzip"));
    let mut stream = response.into_inner();
    let started = within("the first message", stream.message()).await??;
    let kind = started.and_then(|message| message.kind);
    assert!(matches!(kind, Some(Kind::Started(_))), "{kind:?}");
    let ended = Workload::run(&["exit", "0"]).await?;
    within("the exit", async {
        loop {
            let message = stream.message().await?.context("the stream ended")?;
            let Some(Kind::Events(events)) = message.kind else { continue };
            let mut tasks = events.events.iter().filter_map(|event| event.task.as_ref());
            if tasks.any(|task| task.identity.as_ref().is_some_and(|it| it.pid == Some(ended.pid)))
            {
                return Ok(());
            }
        }
    })
    .await?
}
