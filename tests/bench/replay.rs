//! A client that reads the whole history of an agent as fast as it can.

use std::hint::black_box;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use taskstats_client::{Client, Event, WatchRequest};
use taskstats_proto::v1::WatchExitsRequest;
use tokio::runtime;

use crate::args::{Reading, ReplayArgs};
use crate::number::{float, median};
use crate::worker::Worker;
use crate::{control, watch};

/// The speed of a replay.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub(crate) struct Replayed {
    /// Exits of one replay.
    pub(crate) events: u64,
    /// Exits a second: the median over the replays.
    pub(crate) per_second: f64,
}

/// One replay lasts a fraction of a second, so several cost little.
const REPLAYS: u32 = 5;
/// More than any history remembers.
const EVERYTHING: u32 = u32::MAX;
/// All replays together, on a slow machine.
const LONGEST: Duration = Duration::from_secs(30);

/// Replays the history of an agent, up to a sequence number, in a separate process.
pub(crate) fn of(address: &str, reading: Reading, until: u64) -> Result<Replayed> {
    let (until, reading) = (until.to_string(), reading.argument());
    let arguments = ["replay", "--address", address, "--until", &until, "--reading", reading];
    Worker::start(&arguments.map(str::to_owned))?.finish(LONGEST)
}

/// Reads, and reports the speed.
pub(crate) fn run(args: &ReplayArgs) -> Result<()> {
    let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
    let replayed = runtime.block_on(replay(args))?;
    control::say(&serde_json::to_string(&replayed)?)
}

async fn replay(args: &ReplayArgs) -> Result<Replayed> {
    let mut rates = Vec::new();
    let mut events = 0;
    for _ in 0..REPLAYS {
        let (count, time) = match args.reading {
            Reading::Count => count(args).await?,
            Reading::Decode => decode(args).await?,
        };
        rates.push(float(count) / time.as_secs_f64());
        events = count;
    }
    Ok(Replayed { events, per_second: median(&rates) })
}

/// Looks at the borders of events only.
async fn count(args: &ReplayArgs) -> Result<(u64, Duration)> {
    let mut client = watch::connect(&args.address).await?;
    let request = WatchExitsRequest { replay_last: EVERYTHING, ..Default::default() };
    let begin = Instant::now();
    let mut stream = watch::subscribe(&mut client, request).await?;
    let mut events = 0;
    while let Some(frame) = stream.message().await? {
        let Some(batch) = watch::batch_in(&frame)? else { continue };
        events += batch.events;
        if batch.last >= args.until {
            return Ok((events, begin.elapsed()));
        }
    }
    bail!("the agent ended a stream");
}

/// Has the client library decode every field of every event.
async fn decode(args: &ReplayArgs) -> Result<(u64, Duration)> {
    let client = Client::connect(&args.address).await?;
    let begin = Instant::now();
    let mut stream = client.watch(WatchRequest::new().replay_last(EVERYTHING)).await?;
    let mut events = 0;
    while let Some(event) = stream.next().await {
        let Event::Exits(batch) = black_box(event?) else { continue };
        events += u64::try_from(batch.events.len())?;
        if batch.cursor.context("a batch without cursor")?.sequence >= args.until {
            return Ok((events, begin.elapsed()));
        }
    }
    bail!("the agent ended a stream");
}
