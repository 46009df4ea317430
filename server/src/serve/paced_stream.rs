//! Reads a connection in turns, and closes it if its peer sends too many frames without a call.
//!
//! h2 reads until the socket is empty before hyper accepts the streams that were opened. Without
//! turns, a client that cancels some hundred calls at once, as grpc-go does with a context, has them
//! all reset before one was accepted. h2 treats that as an attack (rapid reset, CVE-2023-44487) and
//! closes the connection under the client's other calls.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf, Take};

use super::activity::Activity;
use super::frame_meter::{Flood, FrameMeter};

/// The number of bytes that are read before other tasks, and the streams that were opened, have their
/// turn.
const TURN: u32 = 4 << 10;
/// The length of the shortest HEADERS frame and of a `RST_STREAM` frame: the least that opens a stream
/// and resets it.
const OPEN_AND_RESET: u32 = 9 + 13;
/// The last frame of a connection whose peer sends too many frames without a call: `GOAWAY` with the
/// highest stream, as of all that were opened, and `ENHANCE_YOUR_CALM` (RFC 9113, sections 6.8 and 7).
const GOAWAY: [u8; 17] = [0, 0, 8, 7, 0, 0, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 0xb];

/// The largest number of streams that a peer can open and reset in one turn, all before hyper accepts
/// one of them.
pub(super) const RESETS_IN_TURN: u32 = TURN / OPEN_AND_RESET;

/// A connection that is read in turns.
#[derive(Debug)]
pub(super) struct PacedStream<S> {
    inner: Take<S>,
    /// The turn in which `inner` was read last.
    turn: u64,
    meter: FrameMeter,
    activity: Arc<Activity>,
    /// Whether the peer sent too much, so that no more is read.
    is_closed: bool,
}

impl<S: AsyncRead> PacedStream<S> {
    /// Reads `inner` in turns, which `activity` counts. It is notified when the peer of a connection
    /// sends too much of what `meter` limits.
    pub(super) fn new(inner: S, meter: FrameMeter, activity: Arc<Activity>) -> Self {
        let turn = activity.turn();
        Self { inner: inner.take(TURN.into()), turn, meter, activity, is_closed: false }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for PacedStream<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.is_closed {
            return Poll::Ready(Ok(()));
        }
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
        match this.meter.received(&buf.filled()[before..]) {
            None => {}
            Some(Flood::Resets) => this.activity.report_reset_flood(),
            Some(Flood::Control) => {
                this.close(cx);
                buf.set_filled(before);
            }
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
        let this = self.get_mut();
        let written = ready!(Pin::new(this.inner.get_mut()).poll_write(cx, buf))?;
        this.meter.sent(&buf[..written]);
        Poll::Ready(Ok(written))
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
        let this = self.get_mut();
        let written = ready!(Pin::new(this.inner.get_mut()).poll_write_vectored(cx, bufs))?;
        let mut left = written;
        for buf in bufs {
            let part = left.min(buf.len());
            this.meter.sent(&buf[..part]);
            left -= part;
        }
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.get_ref().is_write_vectored()
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> PacedStream<S> {
    fn writer(self: Pin<&mut Self>) -> Pin<&mut S> {
        Pin::new(self.get_mut().inner.get_mut())
    }

    /// Reads no more. The peer is sent the reason if that is possible now: HTTP/2 itself has no
    /// reason to close the connection.
    fn close(&mut self, cx: &mut Context<'_>) {
        self.is_closed = true;
        self.activity.report_control_flood();
        if self.meter.is_between_sent_frames() {
            let mut stream = Pin::new(self.inner.get_mut());
            // A peer that does not read it learns the same from the end of the connection.
            drop(stream.as_mut().poll_write(cx, &GOAWAY));
            drop(stream.poll_flush(cx));
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
    use tokio_test::io::Builder;

    use super::super::fixtures::caller;
    use super::*;

    const STREAMS: u32 = 256;
    const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    const PING: [u8; 17] = [0, 0, 8, 6, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8];

    fn meter() -> FrameMeter {
        FrameMeter::new(STREAMS, caller())
    }

    /// The peer receives the reason after the last whole frame, and nothing else is read.
    #[tokio::test]
    async fn a_flood_closes_its_connection_with_a_reason() {
        let (mut peer, inner) = duplex(1 << 20);
        let activity = Arc::<Activity>::default();
        let mut stream = PacedStream::new(inner, meter(), Arc::clone(&activity));
        stream.write_all(&PING).await.unwrap();
        peer.write_all(PREFACE).await.unwrap();
        for _ in 0..3 * crate::security::FRAME_BURST {
            peer.write_all(&PING).await.unwrap();
        }
        // A flood that is not found ends here.
        peer.shutdown().await.unwrap();
        let mut buffer = vec![0; 1 << 20];
        while stream.read(&mut buffer).await.unwrap() > 0 {
            activity.begin_turn();
        }
        assert!(activity.has_control_flood());
        assert_eq!(stream.read(&mut buffer).await.unwrap(), 0);
        drop(stream);
        let mut received = Vec::new();
        peer.read_to_end(&mut received).await.unwrap();
        assert_eq!(received, [PING, GOAWAY].concat());
    }

    /// A reason amid a frame would be read as a part of it.
    #[tokio::test]
    async fn a_flood_amid_a_response_has_no_reason() {
        let (mut peer, inner) = duplex(1 << 20);
        let mut stream = PacedStream::new(inner, meter(), Arc::default());
        stream.write_all(&PING[..10]).await.unwrap();
        let mut context = Context::from_waker(std::task::Waker::noop());
        stream.close(&mut context);
        drop(stream);
        let mut received = Vec::new();
        peer.read_to_end(&mut received).await.unwrap();
        assert_eq!(received, PING[..10]);
    }

    /// A peer that never pauses is read in turns, between which other tasks run.
    #[tokio::test]
    async fn a_turn_ends_after_a_number_of_bytes() {
        let turn = usize::try_from(TURN).unwrap();
        let bytes = vec![0; turn + 1];
        let io = Builder::new().read(&bytes).build();
        let activity = Arc::<Activity>::default();
        let mut stream = PacedStream::new(io, meter(), Arc::clone(&activity));
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
