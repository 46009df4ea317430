//! Clients that attack an agent, until their input ends.

use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Context, Result};
use bytes::BytesMut;
use taskstats_proto::v1::WatchExitsRequest;
use taskstats_proto::v1::taskstats_service_client::TaskstatsServiceClient;
use taskstats_tests::http2::{Frame, Kind, Raw};
use tokio::runtime;
use tonic::transport::{Channel, Endpoint};

use crate::args::{Attack, AttackArgs};
use crate::control;

/// The address of the attackers of a port, by which an agent distinguishes them from others.
const SOURCE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 9);
/// Frames that are written at once.
const FRAMES: u32 = 1_000;
/// Messages that a watcher reads before it begins again.
const MESSAGES: usize = 20;
/// The pause before a connection that the agent closed is replaced.
const PAUSE: Duration = Duration::from_millis(10);

/// Attacks until the input ends.
pub(crate) fn run(args: &AttackArgs) -> Result<()> {
    let runtime = runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    for _ in 0..args.connections {
        runtime.spawn(attack_for_ever(args.clone()));
    }
    control::say(control::READY)?;
    control::await_end()?;
    runtime.shutdown_background();
    Ok(())
}

/// Begins again whenever the agent ends a connection or a call, which is what it should do.
async fn attack_for_ever(args: AttackArgs) {
    loop {
        let attacked = match args.attack {
            Attack::Pings => flood(&args.address, &Frame::new(Kind::Ping, 0, b"12345678")).await,
            Attack::Settings => flood(&args.address, &Frame::new(Kind::Settings, 0, &[])).await,
            Attack::Replays => replay(&args.address).await,
        };
        drop(attacked);
        tokio::time::sleep(PAUSE).await;
    }
}

/// Sends a frame without end, and reads all responses.
async fn flood(address: &str, frame: &Frame<'_>) -> Result<()> {
    let mut bytes = BytesMut::new();
    for _ in 0..FRAMES {
        frame.put(&mut bytes);
    }
    let mut raw = Raw::connected_from_with_preface(address, SOURCE).await?;
    loop {
        raw.exchange(&bytes).await?;
    }
}

/// Replays the whole history again and again, with a large window.
async fn replay(address: &str) -> Result<()> {
    const WINDOW: u32 = 16 << 20;
    let endpoint = Endpoint::from_shared(address.to_owned())?;
    let endpoint =
        endpoint.initial_stream_window_size(WINDOW).initial_connection_window_size(WINDOW);
    let channel: Channel = endpoint.connect().await?;
    let mut client = TaskstatsServiceClient::new(channel);
    loop {
        let request = WatchExitsRequest { replay_last: u32::MAX, ..Default::default() };
        let mut stream = client.watch_exits(request).await?.into_inner();
        for _ in 0..MESSAGES {
            stream.message().await?.context("the stream ended")?;
        }
    }
}
