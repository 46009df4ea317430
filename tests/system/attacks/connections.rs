//! Connections that are opened and not used.

use std::net::Ipv4Addr;

use anyhow::Result;
use bytes::BytesMut;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use taskstats_proto::v1::Limit;
use taskstats_tests::deadline::within;
use taskstats_tests::http2::{Flags, Frame, Headers, Kind, PREFACE, Raw};
use taskstats_tests::machine_lock::MachineLock;
use taskstats_tests::process;

use super::{Aftermath, GET_PID, Port, ROUNDS, Siege, assert_bounded, assert_bounded_in};

/// Of each kind and on each listener.
const LOITERERS: usize = 50;
/// Connections at once.
const CROWD: usize = 10_000;
/// Connections of one certificate, each of which needs a handshake: several times its share.
const SECURE_CROWD: usize = 2_000;
/// The addresses of the attackers.
const ADDRESSES: usize = 5;
/// The share of one address: half of 1,024 connections.
const SHARE: usize = 512;
/// The memory for a connection that has sent nothing, for all rounds together: 15 KiB of buffers in
/// a debug build, and what the allocator cannot reuse of the round before. A leak of the
/// connections would be 30.
const CONNECTION_KIB: u64 = 26;
/// The same with TLS, where a connection has keys and another buffer: 28 KiB.
const SECURE_CONNECTION_KIB: u64 = 36;
/// Memory for everything else.
const REST_KIB: u64 = 8 * 1024;

/// The bytes that a peer sends before it stops.
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
async fn slow_handshakes_delay_no_other() -> Result<()> {
    let _lock = MachineLock::exclusive()?;
    let beginnings = beginnings();
    let each = u64::try_from(LOITERERS * beginnings.len())?;
    let allowed_kib = each * (CONNECTION_KIB + SECURE_CONNECTION_KIB) + REST_KIB;
    assert_bounded("slow handshakes", loiter, allowed_kib).await
}

async fn loiter(siege: &mut Siege) -> Result<Aftermath> {
    let mut loiterers = Vec::new();
    for transport in siege.transports.clone() {
        for beginning in beginnings() {
            for _ in 0..LOITERERS {
                let mut raw = transport.connect().await?;
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
async fn a_handshake_byte_by_byte_delays_no_other() -> Result<()> {
    let _lock = MachineLock::exclusive()?;
    let each = u64::try_from(LOITERERS)?;
    let allowed_kib = each * (CONNECTION_KIB + SECURE_CONNECTION_KIB) + REST_KIB;
    assert_bounded("bytes one by one", dribble, allowed_kib).await
}

async fn dribble(siege: &mut Siege) -> Result<Aftermath> {
    let mut dribblers = Vec::new();
    for transport in &siege.transports {
        for _ in 0..LOITERERS {
            dribblers.push(transport.connect().await?);
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

/// Of ten thousand connections of one address the agent keeps half of its limit; the others are
/// closed at once and counted, and other clients can still connect.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_connections_do_not_lock_out_others() -> Result<()> {
    let _lock = MachineLock::exclusive()?;
    raise_descriptors()?;
    let allowed_kib = u64::try_from(SHARE)? * CONNECTION_KIB + REST_KIB;
    let siege = Siege::begin(Port::Plain, &[]).await?;
    let name = "10,000 connections of one address";
    let mut closed = 0;
    let once = async |siege: &mut Siege| crowd_out(siege, CROWD, &mut closed).await;
    assert_bounded_in(siege, ROUNDS, name, once, allowed_kib).await
}

/// The connections of one certificate are limited in the same way: each completes its handshake
/// before it is closed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_connections_of_one_certificate_do_not_lock_out_others() -> Result<()> {
    let _lock = MachineLock::exclusive()?;
    raise_descriptors()?;
    let allowed_kib = u64::try_from(SHARE)? * SECURE_CONNECTION_KIB + REST_KIB;
    let siege = Siege::begin(Port::Mutual, &[]).await?;
    let mut closed = 0;
    let once = async |siege: &mut Siege| crowd_out(siege, SECURE_CROWD, &mut closed).await;
    assert_bounded_in(siege, ROUNDS, "connections of one certificate", once, allowed_kib).await
}

/// Opens so many connections, of which the agent keeps a share only.
async fn crowd_out(siege: &mut Siege, count: usize, closed: &mut u64) -> Result<Aftermath> {
    *closed += u64::try_from(count - SHARE)?;
    let crowd = crowd(siege, count, 1).await?;
    within("the others to be closed", async {
        while siege.refused(Limit::Connections).await? < *closed {}
        anyhow::Ok(())
    })
    .await??;
    assert!(process::descriptors(siege.agent.pid()?)? < 2 * SHARE, "more were kept");
    siege.hold().await?;
    siege.end(crowd).await
}

/// An agent with a high enough limit serves ten thousand connections, each for the memory of one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_connections_delay_no_other() -> Result<()> {
    let _lock = MachineLock::exclusive()?;
    let allowed_kib = u64::try_from(CROWD)? * CONNECTION_KIB + REST_KIB;
    keep_all(Port::Plain, ROUNDS, "10,000 connections, all kept", allowed_kib).await
}

/// The same holds with TLS.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_tls_connections_delay_no_other() -> Result<()> {
    let _lock = MachineLock::exclusive()?;
    let allowed_kib = u64::try_from(CROWD)? * SECURE_CONNECTION_KIB + REST_KIB;
    // Ten thousand handshakes need more time than everything else: the other attacks have several
    // rounds.
    keep_all(Port::Mutual, 1, "10,000 secure connections, all kept", allowed_kib).await
}

async fn keep_all(port: Port, rounds: usize, name: &str, allowed_kib: u64) -> Result<()> {
    raise_descriptors()?;
    let limits = ["--max-connections", "20000", "--principal-share", "100"];
    let siege = Siege::begin(port, &limits).await?;
    let once = async |siege: &mut Siege| {
        let crowd = crowd(siege, CROWD, ADDRESSES).await?;
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
    assert_bounded_in(siege, rounds, name, once, allowed_kib).await
}

fn raise_descriptors() -> Result<()> {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    Ok(setrlimit(Resource::RLIMIT_NOFILE, most, most)?)
}

/// Connects so often, from so many addresses of this machine.
async fn crowd(siege: &Siege, count: usize, addresses: usize) -> Result<Vec<Raw>> {
    let port = siege.port();
    let (half, _) = PREFACE.split_at(PREFACE.len() / 2);
    let mut crowd = Vec::with_capacity(count);
    for number in 0..count {
        let host = u8::try_from(2 + number % addresses)?;
        let mut raw = port.connect_from(Ipv4Addr::new(127, 0, 0, host)).await?;
        // The agent may have closed it already.
        let _sent = raw.write(half).await;
        crowd.push(raw);
    }
    Ok(crowd)
}
