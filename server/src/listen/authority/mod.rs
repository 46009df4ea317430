//! Accepts any `:authority` on a unix socket.
//!
//! RFC 9113 does not say what `:authority` is on a unix socket, so clients differ. C++, Python, Ruby and
//! PHP (one core), Java and Swift send the path of the socket, some of them percent-encoded. Neither form
//! is an authority of RFC 3986: [`http::uri::Authority`] refuses it, and h2 answers each call with
//! `PROTOCOL_ERROR` (hyperium/h2#487, grpc/grpc#38142). The agent never reads the authority.
//!
//! [`AnyAuthority`] stands in front of h2 and overwrites the octets of such a value that h2 would refuse.
//! It follows the frames (`frames`) and the syntax of header blocks (`block`), and replaces each refused
//! octet by one of the same encoded length (`substitute`). Therefore no frame and no string changes its
//! length, and both ends agree on the size of the dynamic table. A field that a client sends by its index
//! in the dynamic table is already valid there, so the table needs no copy here.
//!
//! Input that is not HTTP/2, or is malformed, passes unchanged, so that h2 alone judges it. Some valid input
//! keeps a value that h2 refuses: an empty authority; one of more than `rewriter::MAX_HELD` bytes; a literal
//! whose name is an index into the dynamic table, although `:authority` has index 1 of the static table; and
//! a Huffman-coded value with an octet that has no substitute, such as `#` or one outside ASCII.

mod block;
mod frames;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod held;
mod huffman;
mod rewriter;
mod substitute;
#[cfg(test)]
mod tests;

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use self::held::Held;
use self::rewriter::Rewriter;

/// Bytes that are read at a time while a value is incomplete. With `rewriter::MAX_HELD`, this bounds the
/// memory of a connection.
const READ_AHEAD: usize = 1024;

/// A stream whose reader sees only authorities that h2 accepts. Writes pass unchanged.
#[derive(Debug)]
pub(super) struct AnyAuthority<S> {
    stream: S,
    rewriter: Rewriter,
    held: Held,
}

impl<S> AnyAuthority<S> {
    /// Wraps a stream before its first byte is read.
    pub(super) fn new(stream: S) -> Self {
        Self { stream, rewriter: Rewriter::default(), held: Held::default() }
    }

    /// Returns the stream.
    #[cfg(test)]
    pub(super) fn get_ref(&self) -> &S {
        &self.stream
    }
}

impl<S: AsyncRead + Unpin> AnyAuthority<S> {
    /// Reads into the caller's buffer, without a copy, and holds back a value that is incomplete.
    fn poll_read_through(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<Progress>> {
        let start = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?;
        let read = &mut buffer.filled_mut()[start..];
        if read.is_empty() {
            return Poll::Ready(Ok(Progress::Delivered));
        }
        let complete = self.rewriter.follow(read, 0);
        self.held.hold(&read[complete..]);
        buffer.set_filled(start + complete);
        let progress = if complete > 0 { Progress::Delivered } else { Progress::Held };
        Poll::Ready(Ok(progress))
    }

    /// Reads the rest of a value that is incomplete, with the caller's buffer as scratch memory.
    fn poll_read_ahead(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut scratch = buffer.take(READ_AHEAD);
        ready!(Pin::new(&mut self.stream).poll_read(cx, &mut scratch))?;
        if scratch.filled().is_empty() {
            // The stream has ended inside of the value.
            self.held.release_all();
        } else {
            let from = self.held.append(scratch.filled());
            let complete = self.rewriter.follow(self.held.bytes_mut(), from);
            self.held.release(complete);
        }
        Poll::Ready(Ok(()))
    }
}

/// Outcome of a read into the caller's buffer.
enum Progress {
    /// The caller has new bytes, or the stream has ended.
    Delivered,
    /// All bytes that were read belong to an incomplete value.
    Held,
}

impl<S: AsyncRead + Unpin> AsyncRead for AnyAuthority<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if buffer.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        loop {
            if this.held.deliver(buffer) {
                return Poll::Ready(Ok(()));
            }
            if !this.held.is_empty() {
                ready!(this.poll_read_ahead(cx, buffer))?;
            } else if let Progress::Delivered = ready!(this.poll_read_through(cx, buffer))? {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for AnyAuthority<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
