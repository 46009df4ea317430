//! Bytes that are no HTTP/2, or almost.

use anyhow::Result;
use bytes::{BufMut, BytesMut};
use taskstats_tests::http2::{Flags, Frame, Headers, Kind, PREFACE};
use taskstats_tests::machine_lock::MachineLock;
use taskstats_tests::random::Random;

use super::{Aftermath, GET_PID, Siege, WATCH_EXITS, assert_bounded};

/// Connections of each kind on each listener.
const CONNECTIONS: usize = 300;
/// Bytes of noise at most.
const NOISE: usize = 4096;
/// Frames of a conversation.
const FRAMES: usize = 12;
/// The peak of the memory.
const ALLOWED_KIB: u64 = 8 * 1024;
/// Any seed does.
const SEED: u64 = 44_487;

/// Noise, conversations with single bytes changed, and truncated conversations end their own
/// connection and nothing else.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_and_truncated_frames_affect_no_other() -> Result<()> {
    let _lock = MachineLock::exclusive()?;
    let mut random = Random::new(SEED);
    let once = async |siege: &mut Siege| babble(siege, &mut random).await;
    assert_bounded("garbage", once, ALLOWED_KIB).await
}

async fn babble(siege: &mut Siege, random: &mut Random) -> Result<Aftermath> {
    for transport in siege.transports.clone() {
        for _ in 0..CONNECTIONS {
            for bytes in [noise(random), changed(random), cut(random)] {
                let mut raw = transport.connect().await?;
                // The agent may end it in the middle of this.
                let _sent = raw.write(&bytes).await;
                raw.shut_down().await;
            }
        }
    }
    siege.hold().await?;
    siege.end(()).await
}

fn noise(random: &mut Random) -> Vec<u8> {
    let mut bytes = if random.below(2) == 0 { Vec::new() } else { PREFACE.to_vec() };
    for _ in 0..random.below(NOISE) {
        bytes.push(byte(random));
    }
    bytes
}

/// A conversation that a peer may have, all at once.
fn conversation(random: &mut Random) -> Vec<u8> {
    let mut bytes = BytesMut::from(PREFACE);
    Frame::new(Kind::Settings, 0, &[]).put(&mut bytes);
    let mut stream = 1;
    for _ in 0..FRAMES {
        let path = if random.below(2) == 0 { GET_PID } else { WATCH_EXITS };
        let headers = Headers::call(path);
        let mut call = Frame::new(Kind::Headers, stream, headers.bytes());
        call.flags = Flags::END_HEADERS;
        match random.below(4) {
            0 => Frame::new(Kind::Ping, 0, b"12345678").put(&mut bytes),
            1 => Frame::new(Kind::WindowUpdate, 0, &[0, 0, 1, 0]).put(&mut bytes),
            2 => call.put(&mut bytes),
            _ => {
                call.put(&mut bytes);
                let data = Frame::new(Kind::Data, stream, &[0, 0, 0, 0, 2, 8, 1]);
                data.with(Flags::END_STREAM).put(&mut bytes);
            }
        }
        stream += 2;
    }
    bytes.put_slice(&[]);
    bytes.to_vec()
}

fn changed(random: &mut Random) -> Vec<u8> {
    let mut bytes = conversation(random);
    for _ in 0..=random.below(3) {
        let place = PREFACE.len() + random.below(bytes.len() - PREFACE.len());
        bytes[place] = byte(random);
    }
    bytes
}

fn cut(random: &mut Random) -> Vec<u8> {
    let mut bytes = conversation(random);
    bytes.truncate(random.below(bytes.len()));
    bytes
}

fn byte(random: &mut Random) -> u8 {
    u8::try_from(random.below(256)).unwrap_or_default()
}
