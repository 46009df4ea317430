//! Requests that are too long or never complete.

use std::future::poll_fn;

use anyhow::{Context, Result};
use bytes::{BufMut, BytesMut};
use taskstats_tests::agent::Agent;
use taskstats_tests::client::connect;
use taskstats_tests::deadline::within;
use taskstats_tests::http2::{Flags, Frame, Headers, Kind};
use taskstats_tests::machine_lock::MachineLock;
use tonic::body::Body;
use tonic::codegen::Service;
use tonic::codegen::http::Request;
use tonic::{Code, Status};

use super::{Aftermath, GET_PID, Siege, assert_bounded, limits_with};

/// Connections on each listener.
const CONNECTIONS: usize = 4;
/// Calls on each: as many as the agent allows at once.
const CALLS: u32 = 256;
/// The bytes that are sent of each request, in one frame.
const HALF: usize = 15 * 1024;
/// The announced length: within the limit of a request, so that the agent waits for it.
const ANNOUNCED: u32 = 60 * 1024;
/// Calls at once that a caller may have by default: half of 256. The others are refused at once.
const SHARE: u64 = 128;
/// The memory for such a call, for all rounds together: the buffer of a request doubles as it
/// fills, and the allocator cannot reuse all of it.
const CALL_KIB: u64 = 60;
/// Memory for everything else.
const REST_KIB: u64 = 8 * 1024;

/// Incomplete requests use memory for the bytes that were sent, and for nothing else.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn incomplete_requests_delay_no_other() -> Result<()> {
    let _lock = MachineLock::exclusive()?;
    let allowed_kib = 2 * SHARE * CALL_KIB + REST_KIB;
    assert_bounded("half requests", stop_midway, allowed_kib).await
}

async fn stop_midway(siege: &mut Siege) -> Result<Aftermath> {
    let mut part = BytesMut::new();
    part.put_u8(0);
    part.put_u32(ANNOUNCED);
    part.put_bytes(0, HALF);
    let headers = Headers::call(GET_PID);
    let mut peers = Vec::new();
    for transport in siege.transports.clone() {
        // One attacker at a time: two of them together could use all calls.
        peers.clear();
        for _ in 0..CONNECTIONS {
            let mut raw = transport.connected_with_preface().await?;
            for call in 0..CALLS {
                let stream = 2 * call + 1;
                let mut bytes = BytesMut::new();
                let begin = Frame::new(Kind::Headers, stream, headers.bytes());
                begin.with(Flags::END_HEADERS).put(&mut bytes);
                Frame::new(Kind::Data, stream, &part).put(&mut bytes);
                // The response reports that another call is possible.
                raw.exchange(&bytes).await?;
            }
            peers.push(raw);
        }
        siege.hold().await?;
    }
    siege.end(peers).await
}

/// A message that is flagged as compressed in a call without an encoding is rejected.
#[tokio::test]
async fn compression_without_an_encoding_is_refused() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let agent = Agent::start_with(limits_with(&[])).await?;
    assert_eq!(status_of(&agent.url(), None, "\u{1}\0\0\0\0").await?, Code::Internal);
    // The same call without the flag reaches the method, which refuses pid 0.
    assert_eq!(status_of(&agent.url(), None, "\0\0\0\0\0").await?, Code::InvalidArgument);
    Ok(())
}

/// A message that announces more than a request may have is refused before it is sent.
#[tokio::test]
async fn an_oversize_message_is_refused_by_its_header() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let agent = Agent::start_with(limits_with(&[])).await?;
    assert_eq!(status_of(&agent.url(), None, "\0\u{7f}\0\0\0").await?, Code::ResourceExhausted);
    Ok(())
}

/// Returns the status of a `GetPid` whose request body is `message`.
pub(crate) async fn status_of(
    url: &str,
    encoding: Option<&str>,
    message: &'static str,
) -> Result<Code> {
    let mut channel = connect(url).await?;
    let mut request = Request::post(format!("http://localhost{GET_PID}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers");
    if let Some(encoding) = encoding {
        request = request.header("grpc-encoding", encoding);
    }
    within("a channel that is ready", poll_fn(|context| channel.poll_ready(context))).await??;
    let call = channel.call(request.body(Body::new(message.to_owned()))?);
    let response = within("a response", call).await??;
    let status = Status::from_header_map(response.headers()).context("no status")?;
    Ok(status.code())
}
