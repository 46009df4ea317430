//! Watchers that count what an agent sends, without decoding events.

use std::convert::Infallible;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use bytes::{Buf, Bytes};
use prost::Message;
use prost::encoding::{WireType, decode_key, decode_varint};
use taskstats_proto::v1::watch_exits_response::Kind;
use taskstats_proto::v1::{Cursor, ExitEvents, WatchExitsRequest, WatchExitsResponse};
use taskstats_tests::certificates::Pair;
use taskstats_tests::client::connect_securely;
use taskstats_tests::tls_fixture::NAME;
use tokio::runtime;
use tokio::task::JoinSet;
use tonic::client::Grpc;
use tonic::codec::{Codec, DecodeBuf, Decoder, Streaming};
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};
use tonic_prost::{ProstCodec, ProstEncoder};

use crate::args::WatchArgs;
use crate::tally::Tally;
use crate::{control, stamp};

/// A codec that keeps messages as bytes.
#[derive(Clone, Copy, Debug)]
struct RawCodec;

/// Hands on the bytes of a message.
#[derive(Clone, Copy, Debug)]
struct RawDecoder;

/// The content of a message of events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Batch {
    /// The number of events.
    pub(crate) events: u64,
    /// The sequence of the last one.
    pub(crate) last: u64,
}

/// The rpc that streams exits.
const WATCH_EXITS: &str = "/taskstats.v1.TaskstatsService/WatchExits";

// Field numbers of `WatchExitsResponse` and `ExitEvents`.
const STARTED: u32 = 1;
const EVENTS: u32 = 2;
const LOST: u32 = 3;
const HEARTBEAT: u32 = 4;
const WORKLOADS: u32 = 5;
const EVENTS_EVENT: u32 = 1;
const EVENTS_CURSOR: u32 = 2;

/// Counts until the input ends.
pub(crate) fn run(args: &WatchArgs) -> Result<()> {
    let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
    match runtime.block_on(watch(args))? {}
}

async fn watch(args: &WatchArgs) -> Result<Infallible> {
    let tally = Arc::new(Tally::default());
    let mut watchers = JoinSet::new();
    for _ in 0..args.watchers {
        let mut client = match &args.certificates {
            None => connect(&args.address).await?,
            Some(directory) => connect_by_tls(&args.address, directory).await?,
        };
        let stream = subscribe(&mut client, all()).await?;
        watchers.spawn(count(stream, Arc::clone(&tally), args.stamp));
    }
    control::count_until_reported(tally, || Ok(()))?;
    match watchers.join_next().await {
        Some(ended) => ended?,
        None => bail!("no agent to watch"),
    }
}

/// Connects to an agent.
pub(crate) async fn connect(address: &str) -> Result<Grpc<Channel>> {
    let channel = Endpoint::from_shared(address.to_owned())?.connect().await?;
    let mut client = Grpc::new(channel);
    client.ready().await?;
    Ok(client)
}

async fn connect_by_tls(address: &str, directory: &Path) -> Result<Grpc<Channel>> {
    let read =
        |name| fs::read_to_string(directory.join(name)).with_context(|| format!("read {name}"));
    let pair = Pair { certificate: read("client.crt")?, key: read("client.key")? };
    let channel = connect_securely(address, &read("ca.crt")?, Some(&pair), NAME).await?;
    let mut client = Grpc::new(channel);
    client.ready().await?;
    Ok(client)
}

/// Requests all exits from now on.
pub(crate) fn all() -> WatchExitsRequest {
    WatchExitsRequest::default()
}

/// Opens a stream, and waits until the agent listens.
pub(crate) async fn subscribe(
    client: &mut Grpc<Channel>,
    request: WatchExitsRequest,
) -> Result<Streaming<Bytes>> {
    let path = PathAndQuery::from_static(WATCH_EXITS);
    let response = client.server_streaming(Request::new(request), path, RawCodec).await;
    let mut stream = response.context("watch exits")?.into_inner();
    let first = stream.message().await?.context("an empty stream")?;
    let (kind, _) = field(&mut first.as_ref())?;
    ensure!(kind == STARTED, "the first message has field {kind}");
    Ok(stream)
}

async fn count(
    mut stream: Streaming<Bytes>,
    tally: Arc<Tally>,
    stamped: bool,
) -> Result<Infallible> {
    while let Some(frame) = stream.message().await? {
        if stamped {
            take_ages(&frame, stamp::now_ns(), &tally)?;
        }
        take(&frame, &tally)?;
    }
    bail!("the agent ended a stream");
}

fn take(frame: &Bytes, tally: &Tally) -> Result<()> {
    match field(&mut frame.as_ref())? {
        (EVENTS, events) => tally.add_events(read_batch(events)?.events, frame.len()),
        (LOST, _) => tally.add_lost(lost_in(frame.clone())?),
        (HEARTBEAT, _) => tally.add_heartbeat(),
        (WORKLOADS, _) => {}
        (kind, _) => bail!("a message with field {kind}"),
    }
    Ok(())
}

/// Looks at a message; `None` if it holds no events.
pub(crate) fn batch_in(frame: &Bytes) -> Result<Option<Batch>> {
    match field(&mut frame.as_ref())? {
        (EVENTS, events) => read_batch(events).map(Some),
        _ => Ok(None),
    }
}

fn read_batch(mut events: &[u8]) -> Result<Batch> {
    let mut batch = Batch::default();
    while !events.is_empty() {
        match field(&mut events)? {
            (EVENTS_EVENT, _) => batch.events += 1,
            (EVENTS_CURSOR, cursor) => batch.last = Cursor::decode(cursor)?.sequence,
            (number, _) => bail!("events with field {number}"),
        }
    }
    Ok(batch)
}

/// Removes one length-delimited field from the front: its number and its bytes.
fn field<'a>(message: &mut &'a [u8]) -> Result<(u32, &'a [u8])> {
    let (number, wire_type) = decode_key(message)?;
    ensure!(wire_type == WireType::LengthDelimited, "field {number} is {wire_type:?}");
    let length = usize::try_from(decode_varint(message)?)?;
    let (bytes, rest) = message.split_at_checked(length).context("a message ends early")?;
    *message = rest;
    Ok((number, bytes))
}

fn lost_in(frame: Bytes) -> Result<u64> {
    match WatchExitsResponse::decode(frame)?.kind {
        Some(Kind::Lost(lost)) => lost.count.context("a loss without a count"),
        other => bail!("not a loss: {other:?}"),
    }
}

fn take_ages(frame: &Bytes, now_ns: u64, tally: &Tally) -> Result<()> {
    let Some(Kind::Events(ExitEvents { events, .. })) =
        WatchExitsResponse::decode(frame.clone())?.kind
    else {
        return Ok(());
    };
    let identities = events.iter().filter_map(|event| event.task.as_ref()?.identity.as_ref());
    tally.add_ages(now_ns, identities.map(|identity| identity.comm().as_bytes()));
    Ok(())
}

impl Codec for RawCodec {
    type Encode = WatchExitsRequest;
    type Decode = Bytes;
    type Encoder = ProstEncoder<WatchExitsRequest>;
    type Decoder = RawDecoder;

    fn encoder(&mut self) -> Self::Encoder {
        ProstCodec::<WatchExitsRequest, WatchExitsResponse>::default().encoder()
    }

    fn decoder(&mut self) -> Self::Decoder {
        RawDecoder
    }
}

impl Decoder for RawDecoder {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, source: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(source.copy_to_bytes(source.remaining())))
    }
}

#[cfg(test)]
mod tests {
    use taskstats_proto::v1::{ExitEvent, Lost};

    use super::*;

    fn frame(kind: Kind) -> Bytes {
        WatchExitsResponse { kind: Some(kind) }.encode_to_vec().into()
    }

    /// The cursor behind the events is not an event.
    #[test]
    fn events_are_counted_without_the_cursor() {
        let event = ExitEvent { sequence: 7, ..Default::default() };
        let cursor = Cursor { instance_id: "a".to_owned(), sequence: 9 };
        let events = ExitEvents { events: vec![event; 3], cursor: Some(cursor) };
        let tally = Tally::default();
        let frame = frame(Kind::Events(events));
        take(&frame, &tally).unwrap();
        assert_eq!(tally.count().events, 3);
        assert_eq!(batch_in(&frame).unwrap(), Some(Batch { events: 3, last: 9 }));
    }

    /// A loss counts with its number of exits, not as one message.
    #[test]
    fn losses_are_added_up() {
        let tally = Tally::default();
        for count in [4, 5] {
            let lost = Lost { count: Some(count), ..Default::default() };
            take(&frame(Kind::Lost(lost)), &tally).unwrap();
        }
        assert_eq!(tally.count().lost, 9);
    }

    /// A frame that was cut is refused, not counted.
    #[test]
    fn a_cut_frame_is_an_error() {
        let events = ExitEvents { events: vec![ExitEvent::default(); 2], cursor: None };
        let whole = frame(Kind::Events(events));
        assert!(take(&whole.slice(..whole.len() - 1), &Tally::default()).is_err());
    }
}
