//! Reads a connection in turns, and counts the streams that its peer resets.
//!
//! h2 reads until the socket is empty before hyper accepts the streams that were opened. Without
//! turns, a client that cancels some hundred calls at once, as grpc-go does with a context, has them
//! all reset before one was accepted. h2 treats that as an attack (rapid reset, CVE-2023-44487) and
//! closes the connection under the client's other calls.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf, Take};

use super::activity::Activity;

/// The number of bytes that are read before other tasks, and the streams that were opened, have their
/// turn.
const TURN: u32 = 4 << 10;
/// The length of the shortest HEADERS frame and of a `RST_STREAM` frame: the least that opens a stream
/// and resets it.
const OPEN_AND_RESET: u32 = 9 + 13;
/// The time over which resets are counted.
const RESET_WINDOW: Duration = Duration::from_secs(10);
/// The resets in that time, for each stream that a connection may have, beyond which it is closed.
/// Clients cancel many calls now and then, and attackers do nothing else.
const RESETS_PER_STREAM: u32 = 8;
/// The smallest such number, where connections have few streams.
const MIN_RESETS: u32 = 1024;
/// The length of the connection preface (RFC 9113, section 3.4).
const PREFACE: usize = 24;
/// The length of a frame header (RFC 9113, section 4.1).
const FRAME_HEADER: usize = 9;
/// The position of the type in it, after the payload's length.
const FRAME_TYPE: usize = 3;
/// The type of `RST_STREAM` frames (RFC 9113, section 6.4).
const RST_STREAM: u8 = 3;

/// The largest number of streams that a peer can open and reset in one turn, all before hyper accepts
/// one of them.
pub(super) const RESETS_IN_TURN: u32 = TURN / OPEN_AND_RESET;

/// A connection that is read in turns. Writes pass through.
#[derive(Debug)]
pub(super) struct PacedStream<S> {
    inner: Take<S>,
    /// The turn in which `inner` was read last.
    turn: u64,
    resets: ResetMeter,
    activity: Arc<Activity>,
}

/// Counts `RST_STREAM` frames.
#[derive(Debug)]
struct ResetMeter {
    frames: FrameCursor,
    max_resets: u32,
    resets: u32,
    window: Instant,
}

/// The position in a sequence of frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FrameCursor {
    /// So many bytes are left of the preface, or of a frame's payload.
    Skip(usize),
    /// So many bytes of a frame header were read, and the payload's length is in the first three.
    Header { read: usize, length: u32 },
}

impl<S: AsyncRead> PacedStream<S> {
    /// Reads `inner` in turns, which `activity` counts. It is notified when the peer of a connection with so many
    /// streams resets too many of them.
    pub(super) fn new(inner: S, max_streams: u32, activity: Arc<Activity>) -> Self {
        let resets = ResetMeter::new(max_streams, Instant::now());
        Self { inner: inner.take(TURN.into()), turn: activity.turn(), resets, activity }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for PacedStream<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let turn = this.activity.turn();
        if turn != this.turn {
            this.turn = turn;
            this.inner.set_limit(TURN.into());
        }
        if this.inner.limit() == 0 {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let before = buf.filled().len();
        ready!(Pin::new(&mut this.inner).poll_read(cx, buf))?;
        if this.resets.count(&buf.filled()[before..], Instant::now) {
            this.activity.report_reset_flood();
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for PacedStream<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.writer().poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.writer().poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.writer().poll_shutdown(cx)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.writer().poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.get_ref().is_write_vectored()
    }
}

impl<S: AsyncRead + Unpin> PacedStream<S> {
    fn writer(self: Pin<&mut Self>) -> Pin<&mut S> {
        Pin::new(self.get_mut().inner.get_mut())
    }
}

impl ResetMeter {
    fn new(max_streams: u32, now: Instant) -> Self {
        let max_resets = max_streams.saturating_mul(RESETS_PER_STREAM).max(MIN_RESETS);
        Self { frames: FrameCursor::Skip(PREFACE), max_resets, resets: 0, window: now }
    }

    /// Counts the resets among the next bytes, and returns true if there are too many.
    fn count(&mut self, bytes: &[u8], now: impl FnOnce() -> Instant) -> bool {
        let resets = self.frames.advance(bytes);
        if resets == 0 {
            return false;
        }
        let now = now();
        if now.duration_since(self.window) >= RESET_WINDOW {
            (self.window, self.resets) = (now, 0);
        }
        self.resets = self.resets.saturating_add(resets);
        self.resets > self.max_resets
    }
}

impl FrameCursor {
    const FRAME: Self = Self::Header { read: 0, length: 0 };

    /// Moves over the next bytes, and returns the number of `RST_STREAM` frames that begin in them.
    fn advance(&mut self, mut bytes: &[u8]) -> u32 {
        let mut resets = 0;
        while let Some((&byte, rest)) = bytes.split_first() {
            match *self {
                Self::Skip(0) => *self = Self::FRAME,
                Self::Skip(left) => {
                    let part = left.min(bytes.len());
                    *self = Self::Skip(left - part);
                    bytes = &bytes[part..];
                }
                Self::Header { read, length } => {
                    *self = Self::after_header_byte(read, length, byte);
                    resets += u32::from(read == FRAME_TYPE && byte == RST_STREAM);
                    bytes = rest;
                }
            }
        }
        resets
    }

    fn after_header_byte(read: usize, length: u32, byte: u8) -> Self {
        let length = if read < FRAME_TYPE { length << u8::BITS | u32::from(byte) } else { length };
        match read + 1 {
            FRAME_HEADER => Self::Skip(usize::try_from(length).unwrap_or(usize::MAX)),
            read => Self::Header { read, length },
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokio::io::AsyncReadExt;
    use tokio_test::io::Builder;

    use super::*;

    const STREAMS: u32 = 256;

    fn frame(kind: u8, length: usize) -> Vec<u8> {
        let length_bytes = u32::try_from(length).unwrap().to_be_bytes();
        let payload = vec![RST_STREAM; length];
        [&length_bytes[1..], &[kind, 0, 0, 0, 0, 1], &payload].concat()
    }

    fn meter() -> ResetMeter {
        let mut meter = ResetMeter::new(STREAMS, Instant::now());
        assert!(!meter.count(&[0; PREFACE], Instant::now));
        meter
    }

    /// Payloads that look like frames are not counted, wherever the bytes are cut.
    #[test]
    fn resets_are_counted_however_the_bytes_are_cut() {
        proptest!(|(
            frames in prop::collection::vec((0..10_u8, 0..40_usize), 0..40),
            size in 1..100_usize,
        )| {
            let bytes = frames.iter().map(|&(kind, length)| frame(kind, length)).collect::<Vec<_>>();
            let mut cursor = FrameCursor::FRAME;
            let counted: u32 = bytes.concat().chunks(size).map(|part| cursor.advance(part)).sum();
            let expected = frames.iter().filter(|(kind, _)| *kind == RST_STREAM).count();
            prop_assert_eq!(counted, u32::try_from(expected).unwrap());
        });
    }

    #[test]
    fn resets_have_a_limit_in_a_window() {
        let (mut meter, reset, start) = (meter(), frame(RST_STREAM, 4), Instant::now());
        for _ in 0..STREAMS * RESETS_PER_STREAM {
            assert!(!meter.count(&reset, || start));
        }
        assert!(meter.count(&reset, || start + RESET_WINDOW / 2));
        assert!(!meter.count(&reset, || start + 2 * RESET_WINDOW));
    }

    #[test]
    fn other_frames_do_not_read_the_clock() {
        let mut meter = meter();
        assert!(!meter.count(&frame(0, 100), || unreachable!("no reset")));
    }

    /// A peer that never pauses is read in turns, between which other tasks run.
    #[tokio::test]
    async fn a_turn_ends_after_a_number_of_bytes() {
        let turn = usize::try_from(TURN).unwrap();
        let bytes = vec![0; turn + 1];
        let io = Builder::new().read(&bytes).build();
        let activity = Arc::<Activity>::default();
        let mut stream = PacedStream::new(io, STREAMS, Arc::clone(&activity));
        let mut buffer = vec![0; 2 * turn];
        assert_eq!(stream.read(&mut buffer).await.unwrap(), turn);
        let mut second = tokio_test::task::spawn(stream.read(&mut buffer));
        for _ in 0..2 {
            assert!(second.poll().is_pending());
            assert!(second.is_woken());
        }
        activity.begin_turn();
        assert_eq!(second.await.unwrap(), 1);
    }
}
