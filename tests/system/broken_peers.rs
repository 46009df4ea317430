//! Peers that do not send gRPC, or stop in the middle of it.

use anyhow::Result;
use taskstats_tests::agent::Agent;
use taskstats_tests::client::{connect, service};
use taskstats_tests::deadline::within;
use taskstats_tests::machine_lock::MachineLock;
use taskstats_tests::watch::Watch;
use taskstats_tests::workload::Workload;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use crate::support::get_pid;

/// The connection preface of HTTP/2.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// A frame header that announces the largest length, of an unknown type.
const HUGE_FRAME: &[u8] = &[0xff, 0xff, 0xff, 0xfe, 0xff, 0xff, 0xff, 0xff, 0xff];
/// Bytes that no gRPC server accepts: another protocol, TLS, noise, a broken frame.
const GARBAGE: [&[u8]; 4] = [
    b"GET / HTTP/1.1\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    &[0xa5; 4096],
    b"",
];

/// Garbage ends its own connection and no other.
#[tokio::test]
async fn garbage_ends_only_its_own_connection() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let agent = Agent::start().await?;
    let mut client = service(&agent.url()).await?;
    let mut watch = Watch::everything(&connect(&agent.url()).await?).await?;
    let huge = [PREFACE, HUGE_FRAME].concat();
    for garbage in GARBAGE.into_iter().chain([huge.as_slice()]) {
        let mut stream = UnixStream::connect(agent.socket()).await?;
        stream.write_all(garbage).await?;
        stream.shutdown().await?;
        // Either an end of file or a reset.
        let _end = within("the connection's end", stream.read_to_end(&mut Vec::new())).await?;
        get_pid(&mut client, std::process::id()).await?;
    }
    let ended = Workload::run(&["exit", "0"]).await?;
    watch.exit_of(ended.pid).await?;
    assert!(!agent.stderr()?.contains("panicked"), "{}", agent.stderr()?);
    Ok(())
}
