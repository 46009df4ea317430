//! Frames without end.

use anyhow::Result;
use bytes::{BufMut, BytesMut};
use prost::Message;
use taskstats_proto::v1::{BatchGetRequest, Limit};
use taskstats_tests::http2::{Flags, Frame, Headers, Kind, Outcome};
use taskstats_tests::machine_lock::MachineLock;

use super::{Aftermath, GET_PID, Siege, WATCH_EXITS, assert_bounded};

/// Connections of each flood on each listener.
const CONNECTIONS: usize = 10;
/// Frames of a flood on each connection: 50,000 on a listener.
const FRAMES: u32 = 5_000;
/// Frames without a call on each connection: far more than a principal may send at once, and in the
/// seconds that a busy machine needs to read them.
const CONTROL_FRAMES: u32 = 40_000;
/// The peak of the memory during a flood from one connection at a time.
const ALLOWED_KIB: u64 = 8 * 1024;
/// The longest frame that the agent accepts.
const LONGEST: usize = 16 * 1024;
/// The longest list of headers that the agent reads to its end.
const LENIENT: usize = 64 * 1024;
/// The memory for most of such a list in a debug build: the list, its buffer while that grows, and
/// the rest of a connection.
const HALF_HEADERS_KIB: u64 = 256;
/// `SETTINGS_INITIAL_WINDOW_SIZE` of 0: the peer accepts no byte of any response.
const NO_WINDOW: &[u8] = &[0, 4, 0, 0, 0, 0];
/// Calls on a connection whose peer reads no responses: as many streams as the agent allows.
const UNREAD_CALLS: u32 = 256;
/// The memory for such a call in a debug build.
const UNREAD_CALL_KIB: u64 = 10;
/// Connections of each peer whose responses are large.
const LARGE_CONNECTIONS: usize = 4;
/// The most tasks in one request: half a megabyte of a response.
const MOST_TASKS: usize = 1000;
/// The memory for all large responses: 64 slow calls at most, over all connections.
const ALLOWED_LARGE_KIB: u64 = 64 * 1024;
/// Frames of a peer that reads nothing: the responses are more than the sockets buffer.
const UNREAD_FRAMES: u32 = 1_000_000;

/// Stream numbers of a client are odd.
fn stream(index: u32) -> u32 {
    2 * index + 1
}

fn begun(bytes: &mut BytesMut, stream: u32, path: &str) {
    let headers = Headers::call(path);
    Frame::new(Kind::Headers, stream, headers.bytes()).with(Flags::END_HEADERS).put(bytes);
}

fn resets(path: &'static str) -> BytesMut {
    let mut bytes = BytesMut::new();
    for index in 0..FRAMES {
        begun(&mut bytes, stream(index), path);
        Frame::new(Kind::RstStream, stream(index), &8_u32.to_be_bytes()).put(&mut bytes);
    }
    bytes
}

fn repeated(frame: &Frame<'_>, times: u32) -> BytesMut {
    let mut bytes = BytesMut::new();
    for _ in 0..times {
        frame.put(&mut bytes);
    }
    bytes
}

/// Floods both listeners, connection by connection, and returns how many connections the agent
/// closed.
async fn flood(siege: &mut Siege, flood: &[u8]) -> Result<(usize, Aftermath)> {
    let mut ended = 0;
    for transport in siege.transports.clone() {
        for _ in 0..CONNECTIONS {
            let mut raw = transport.connected_with_preface().await?;
            ended += usize::from(raw.exchange(flood).await? == Outcome::Ended);
        }
    }
    siege.hold().await?;
    Ok((ended, siege.end(()).await?))
}

/// Has every connection of a flood ended by the agent.
async fn assert_ended(name: &str, bytes: &[u8]) -> Result<()> {
    let _lock = MachineLock::exclusive()?;
    let once = async |siege: &mut Siege| {
        let (ended, aftermath) = flood(siege, bytes).await?;
        assert_eq!(ended, 2 * CONNECTIONS, "{name}: a connection outlived it");
        Ok(aftermath)
    };
    assert_bounded(name, once, ALLOWED_KIB).await
}

/// Calls that are cancelled at once end the connection before there are many (CVE-2023-44487).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rapid_resets_end_their_connection() -> Result<()> {
    assert_ended("rapid resets of calls", &resets(GET_PID)).await
}

/// The same holds for exit streams.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rapid_resets_of_streams_end_their_connection() -> Result<()> {
    assert_ended("rapid resets of streams", &resets(WATCH_EXITS)).await
}

/// Headers that never end, end the connection (CVE-2024-27316): long ones by their size, short ones
/// by their number.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn headers_without_end_end_their_connection() -> Result<()> {
    let long = Headers::default().with("x", &[b'x'; LONGEST - 16]);
    let short = Headers::default().with("x", b"x");
    for (name, more) in [
        ("long CONTINUATIONs", long.bytes()),
        ("short CONTINUATIONs", short.bytes()),
        ("empty CONTINUATIONs", &[]),
    ] {
        let headers = Headers::call(GET_PID);
        let mut bytes = BytesMut::new();
        Frame::new(Kind::Headers, 1, headers.bytes()).put(&mut bytes);
        let times = if more.len() > LONGEST / 2 { FRAMES / 100 } else { FRAMES };
        bytes.put(repeated(&Frame::new(Kind::Continuation, 1, more), times));
        assert_ended_by(name, &bytes).await?;
    }
    Ok(())
}

/// Has every connection ended by these bytes alone: any other frame amid headers would end it, too.
async fn assert_ended_by(name: &str, bytes: &[u8]) -> Result<()> {
    let _lock = MachineLock::exclusive()?;
    let once = async |siege: &mut Siege| {
        for transport in siege.transports.clone() {
            for _ in 0..CONNECTIONS {
                transport.connected_with_preface().await?.end_by(bytes).await?;
            }
        }
        siege.hold().await?;
        siege.end(()).await
    };
    assert_bounded(name, once, ALLOWED_KIB).await
}

/// Lists of headers above the limit are refused, however they are split into frames: those that are
/// read to their end are counted, and h2 refuses longer ones.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn oversize_headers_are_refused() -> Result<()> {
    for (length, is_read) in
        [(2 * LONGEST, true), (LENIENT - LONGEST / 16, true), (LENIENT + LONGEST, false)]
    {
        let bytes = oversize(length, FRAMES / 100);
        let _lock = MachineLock::exclusive()?;
        let mut counted = 0;
        let once = async |siege: &mut Siege| {
            let (ended, aftermath) = flood(siege, &bytes).await?;
            assert_eq!(ended, 0, "{length} bytes ended a connection");
            if is_read {
                counted += u64::try_from(2 * CONNECTIONS)? * u64::from(FRAMES / 100);
            }
            assert_eq!(siege.refused(Limit::HeaderSize).await?, counted, "{length} bytes");
            Ok(aftermath)
        };
        assert_bounded(&format!("headers of {length} bytes"), once, ALLOWED_KIB).await?;
    }
    Ok(())
}

/// Calls with so many bytes of headers.
fn oversize(length: usize, calls: u32) -> BytesMut {
    let headers = Headers::call(GET_PID).with("x", &vec![b'x'; length]);
    let mut bytes = BytesMut::new();
    for index in 0..calls {
        let mut parts = headers.bytes().chunks(LONGEST).enumerate().peekable();
        while let Some((part, payload)) = parts.next() {
            let kind = if part == 0 { Kind::Headers } else { Kind::Continuation };
            let flags = if parts.peek().is_none() { Flags::END_HEADERS } else { Flags::NONE };
            Frame::new(kind, stream(index), payload).with(flags).put(&mut bytes);
        }
    }
    bytes
}

/// A list of headers that is not sent to its end uses a bounded amount of memory.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn incomplete_headers_use_bounded_memory() -> Result<()> {
    let _lock = MachineLock::exclusive()?;
    let connections = u64::try_from(2 * CONNECTIONS)?;
    assert_bounded("half of long headers", half_headers, connections * HALF_HEADERS_KIB).await
}

async fn half_headers(siege: &mut Siege) -> Result<Aftermath> {
    let call = oversize(LENIENT - LONGEST / 16, 1);
    let (most, _last) = call.split_at(call.len() - 1);
    let mut peers = Vec::new();
    for transport in siege.transports.clone() {
        for _ in 0..CONNECTIONS {
            let mut raw = transport.connected_with_preface().await?;
            raw.write(most).await?;
            peers.push(raw);
        }
    }
    siege.hold().await?;
    siege.end(peers).await
}

/// Frames without a call end their connection, are counted, and leave others served: a principal may send
/// some at once, and then a rate of them, by all of its connections.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frames_without_a_call_end_their_connection() -> Result<()> {
    for (name, frame) in [
        ("PINGs", Frame::new(Kind::Ping, 0, b"12345678")),
        ("SETTINGS", Frame::new(Kind::Settings, 0, &[])),
        ("PRIORITY frames", Frame::new(Kind::Priority, 1, &[0, 0, 0, 0, 1])),
        ("window updates", Frame::new(Kind::WindowUpdate, 0, &[0, 0, 0, 1])),
        ("frames of an unknown type", Frame::new(Kind::Unknown, 0, &[0; LONGEST])),
    ] {
        // Long frames cost as much as many short ones.
        let times = if frame.payload.len() == LONGEST { FRAMES / 10 } else { CONTROL_FRAMES };
        assert_control_flood(name, &repeated(&frame, times)).await?;
    }
    let mut bytes = BytesMut::new();
    begun(&mut bytes, stream(0), WATCH_EXITS);
    bytes.put(repeated(&Frame::new(Kind::Data, stream(0), &[]), CONTROL_FRAMES));
    assert_ended("empty DATA", &bytes).await
}

/// Has every connection of a flood ended by the agent because of its frames.
async fn assert_control_flood(name: &str, bytes: &[u8]) -> Result<()> {
    let _lock = MachineLock::exclusive()?;
    let mut connections = 0;
    let once = async |siege: &mut Siege| {
        let (ended, aftermath) = flood(siege, bytes).await?;
        assert_eq!(ended, 2 * CONNECTIONS, "{name}: a connection outlived it");
        connections += u64::try_from(ended)?;
        assert_eq!(siege.refused(Limit::Protocol).await?, connections, "{name}");
        Ok(aftermath)
    };
    assert_bounded(name, once, ALLOWED_KIB).await
}

/// Responses that a peer does not read are not queued without bound, whether its windows or its
/// socket are full.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unread_responses_are_not_queued_without_bound() -> Result<()> {
    let _lock = MachineLock::exclusive()?;
    let calls = u64::try_from(2 * CONNECTIONS)? * u64::from(UNREAD_CALLS);
    assert_bounded("no window", refuse_responses, calls * UNREAD_CALL_KIB).await?;
    assert_bounded("no reading", read_nothing, ALLOWED_KIB).await
}

async fn refuse_responses(siege: &mut Siege) -> Result<Aftermath> {
    let mut bytes = BytesMut::new();
    for index in 0..UNREAD_CALLS {
        begun(&mut bytes, stream(index), "/taskstats.v1.TaskstatsService/GetNode");
        // An empty message: the whole request.
        Frame::new(Kind::Data, stream(index), &[0; 5]).with(Flags::END_STREAM).put(&mut bytes);
    }
    let mut peers = Vec::new();
    for transport in siege.transports.clone() {
        for _ in 0..CONNECTIONS {
            let mut raw = transport.connected_with_settings(NO_WINDOW).await?;
            raw.exchange(&bytes).await?;
            peers.push(raw);
        }
    }
    siege.hold().await?;
    siege.end(peers).await
}

/// Large responses are not queued either: unread ones count among the calls, over all connections
/// of a caller.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unread_large_responses_are_not_queued_without_bound() -> Result<()> {
    let _lock = MachineLock::exclusive()?;
    assert_bounded("large responses", refuse_large_responses, ALLOWED_LARGE_KIB).await
}

async fn refuse_large_responses(siege: &mut Siege) -> Result<Aftermath> {
    let request =
        BatchGetRequest { pids: vec![1; MOST_TASKS], tgids: Vec::new(), ..Default::default() }
            .encode_to_vec();
    let mut message = BytesMut::from(&[0][..]);
    message.put_u32(u32::try_from(request.len())?);
    message.put_slice(&request);
    let mut bytes = BytesMut::new();
    for index in 0..UNREAD_CALLS {
        begun(&mut bytes, stream(index), "/taskstats.v1.TaskstatsService/BatchGet");
        let frame = Frame::new(Kind::Data, stream(index), &message);
        frame.with(Flags::END_STREAM).put(&mut bytes);
    }
    let mut peers = Vec::new();
    for transport in siege.transports.clone() {
        for _ in 0..LARGE_CONNECTIONS {
            let mut raw = transport.connected_with_settings(NO_WINDOW).await?;
            // All requests together are larger than the initial window of the connection.
            raw.read_until(Kind::WindowUpdate).await?;
            assert_eq!(raw.exchange(&bytes).await?, Outcome::Read);
            peers.push(raw);
        }
    }
    siege.hold().await?;
    let aftermath = siege.end(peers).await?;
    assert!(siege.refused(Limit::Calls).await? > 0, "no large response was refused");
    Ok(aftermath)
}

async fn read_nothing(siege: &mut Siege) -> Result<Aftermath> {
    let pings = repeated(&Frame::new(Kind::Ping, 0, b"12345678"), UNREAD_FRAMES / 1000);
    let mut peers = Vec::new();
    for transport in siege.transports.clone() {
        let mut raw = transport.connected_with_preface().await?;
        let write = async {
            for _ in 0..1000 {
                raw.write(&pings).await?;
            }
            anyhow::Ok(())
        };
        tokio::select! {
            // The agent may end it, or read all: that is its choice.
            _written = write => {}
            // The agent may also stop reading until its responses are read.
            held = siege.hold() => held?,
        }
        peers.push(raw);
    }
    siege.end(peers).await
}
