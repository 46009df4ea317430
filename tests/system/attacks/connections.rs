//! Connections that are opened and not used.

use std::net::Ipv4Addr;

use anyhow::Result;
use bytes::BytesMut;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use taskstats_proto::v1::Limit;
use taskstats_tests::deadline::within;
use taskstats_tests::http2::{Flags, Frame, Headers, Kind, PREFACE, Raw};
use taskstats_tests::load::Load;
use taskstats_tests::process;

use super::{Aftermath, GET_PID, Siege, assert_bounded, assert_bounded_with};

/// Of each kind and on each listener.
const LOITERERS: usize = 50;
/// Connections at once.
const CROWD: usize = 10_000;
/// Addresses that they come from.
const ADDRESSES: usize = 5;
/// How many one address may have by default: half of 1,024.
const SHARE: usize = 512;
/// What a connection that has said nothing may take in all rounds together: 15 KiB of buffers in a
/// debug build, and what the allocator cannot use again of the round before. A leak of them would be 30.
const CONNECTION_KIB: u64 = 26;
/// What the rest may take.
const REST_KIB: u64 = 8 * 1024;

/// What a peer says before it falls silent.
fn beginnings() -> Vec<Vec<u8>> {
    let mut settings = BytesMut::from(PREFACE);
    Frame::new(Kind::Settings, 0, &[]).put(&mut settings);
    let mut headers = settings.clone();
    let call = Headers::call(GET_PID);
    Frame::new(Kind::Headers, 1, call.bytes()).with(Flags::END_HEADERS).put(&mut headers);
    let half = |bytes: &[u8]| bytes[..bytes.len() - 5].to_vec();
    vec![
        Vec::new(),
        half(PREFACE),
        PREFACE.to_vec(),
        half(&settings),
        settings.to_vec(),
        half(&headers),
        headers.to_vec(),
    ]
}

/// Silence at any point of the handshake costs a connection's memory, and no time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_handshakes_hold_up_nobody() -> Result<()> {
    let _load = Load::heavy()?;
    let beginnings = beginnings();
    let connections = u64::try_from(2 * LOITERERS * beginnings.len())?;
    let allowed_kib = connections * CONNECTION_KIB + REST_KIB;
    assert_bounded("slow handshakes", loiter, allowed_kib).await
}

async fn loiter(siege: &mut Siege) -> Result<Aftermath> {
    let mut loiterers = Vec::new();
    for url in siege.urls.clone() {
        for beginning in beginnings() {
            for _ in 0..LOITERERS {
                let mut raw = Raw::connect(&url).await?;
                raw.write(&beginning).await?;
                loiterers.push(raw);
            }
        }
    }
    siege.hold().await?;
    siege.end(loiterers).await
}

/// A handshake of one byte at a time is read, and is no reason to wait for anyone else.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handshake_byte_by_byte_holds_up_nobody() -> Result<()> {
    let _load = Load::heavy()?;
    let allowed_kib = u64::try_from(2 * LOITERERS)? * CONNECTION_KIB + REST_KIB;
    assert_bounded("bytes one by one", dribble, allowed_kib).await
}

async fn dribble(siege: &mut Siege) -> Result<Aftermath> {
    let mut dribblers = Vec::new();
    for url in &siege.urls {
        for _ in 0..LOITERERS {
            dribblers.push(Raw::connect(url).await?);
        }
    }
    let longest = beginnings().pop().unwrap_or_default();
    for byte in longest {
        for dribbler in &mut dribblers {
            dribbler.write(&[byte]).await?;
        }
        siege.served(1).await?;
    }
    siege.end(dribblers).await
}

/// Ten thousand connections of one address: half of what the agent takes are kept, the others are closed
/// at once and counted, and others still come in.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_connections_do_not_lock_out_others() -> Result<()> {
    let _load = Load::heavy()?;
    raise_descriptors()?;
    let mut closed = 0;
    let once = async |siege: &mut Siege| {
        closed += u64::try_from(CROWD - SHARE)?;
        let crowd = crowd(siege, 1).await?;
        within("the others to be closed", async {
            while siege.refused(Limit::Connections).await? < closed {}
            anyhow::Ok(())
        })
        .await??;
        assert!(process::descriptors(siege.agent.pid()?)? < 2 * SHARE, "more were kept");
        siege.hold().await?;
        siege.end(crowd).await
    };
    let allowed_kib = u64::try_from(SHARE)? * CONNECTION_KIB + REST_KIB;
    assert_bounded("10,000 connections", once, allowed_kib).await
}

/// An agent that may have them serves ten thousand connections, each for the memory of one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_connections_hold_up_nobody() -> Result<()> {
    let _load = Load::heavy()?;
    raise_descriptors()?;
    let once = async |siege: &mut Siege| {
        let crowd = crowd(siege, ADDRESSES).await?;
        let pid = siege.agent.pid()?;
        within("all connections to be accepted", async {
            while process::descriptors(pid)? < CROWD {
                tokio::task::yield_now().await;
            }
            anyhow::Ok(())
        })
        .await??;
        siege.hold().await?;
        siege.end(crowd).await
    };
    let allowed_kib = u64::try_from(CROWD)? * CONNECTION_KIB + REST_KIB;
    let limits = ["--max-connections", "20000", "--principal-share", "100"];
    assert_bounded_with(&limits, "10,000 connections, all kept", once, allowed_kib).await
}

fn raise_descriptors() -> Result<()> {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    Ok(setrlimit(Resource::RLIMIT_NOFILE, most, most)?)
}

/// Connects ten thousand times, from so many addresses of this machine.
async fn crowd(siege: &Siege, addresses: usize) -> Result<Vec<Raw>> {
    let [_, port] = &siege.urls;
    let (half, _) = PREFACE.split_at(PREFACE.len() / 2);
    let mut crowd = Vec::with_capacity(CROWD);
    for number in 0..CROWD {
        let host = u8::try_from(2 + number % addresses)?;
        let mut raw = Raw::connect_from(port, Ipv4Addr::new(127, 0, 0, host)).await?;
        // It may be closed already.
        let _sent = raw.write(half).await;
        crowd.push(raw);
    }
    Ok(crowd)
}
