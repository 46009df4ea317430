//! The check of the fuzz target `authority`, which tests run with its seeds. Not part of the agent.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use h2::Reason;
use h2::server;
use http::request::Parts;
use tokio::io::{AsyncRead, AsyncReadExt, ReadBuf, join, sink};

use super::AnyAuthority;

/// The beginning of each connection, so that inputs need not contain it: the preface, and empty SETTINGS.
pub(super) const OPENING: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
/// Bytes that h2 receives between two polls. h2 does not return a request when the same poll finds that
/// the connection is over.
const TRICKLE: usize = 16;
/// Polls without progress that h2 may need beside those that bring bytes.
const IDLE_POLLS: usize = 8;

/// Sends a connection to h2, with and without [`AnyAuthority`]. The first byte is the size of the reads.
///
/// # Panics
///
/// When the size of the reads has an influence, or a request that h2 accepts without the reader differs or
/// is missing with it. It may be missing after a request that only the reader made valid: h2 can close the
/// connection because of later frames of that one.
pub fn authority(bytes: &[u8]) {
    let Some((size, bytes)) = bytes.split_first() else { return };
    let sent = [OPENING, bytes].concat();
    let received = received(&sent, sent.len());
    assert_eq!(received.len(), sent.len());
    assert_eq!(received, self::received(&sent, usize::from(*size) + 1), "reads of {size}");
    let (plain, rewritten) = (Verdict::of(&sent), Verdict::of(&received));
    for (stream, expected) in &plain.requests {
        match rewritten.requests.iter().find(|(found, _)| found == stream) {
            Some((_, found)) => assert_eq!(found, expected),
            None => assert!(received != sent && rewritten.reason.is_some(), "lost {expected}"),
        }
    }
}

/// Returns what a reader behind [`AnyAuthority`] receives, when the stream gives so many bytes at a time.
pub(super) fn received(bytes: &[u8], size: usize) -> Vec<u8> {
    let mut reader = AnyAuthority::new(Pieces { bytes, size });
    let mut received = Vec::with_capacity(bytes.len() + 1);
    let read = std::pin::pin!(reader.read_to_end(&mut received));
    let Poll::Ready(Ok(_)) = read.poll(&mut Context::from_waker(Waker::noop())) else {
        unreachable!("the bytes are there, and no read fails");
    };
    received
}

/// A stream that gives a few bytes at a time.
#[derive(Debug)]
pub(super) struct Pieces<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) size: usize,
}

impl AsyncRead for Pieces<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let count = self.size.min(self.bytes.len()).min(buffer.remaining());
        let (read, rest) = self.bytes.split_at(count);
        buffer.put_slice(read);
        self.bytes = rest;
        Poll::Ready(Ok(()))
    }
}

/// The requests that h2 accepts from a connection, and why it closes the connection.
#[derive(Debug, Default)]
pub(super) struct Verdict {
    /// Each one with its stream, and a description of method, target and headers.
    pub(super) requests: Vec<(h2::StreamId, String)>,
    pub(super) reason: Option<Reason>,
}

/// A stream that gives a few bytes after each poll that gave none, and never ends.
#[derive(Debug)]
struct Trickle<'a> {
    bytes: &'a [u8],
    is_due: bool,
}

impl AsyncRead for Trickle<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.is_due = !self.is_due;
        if self.bytes.is_empty() || !self.is_due {
            return Poll::Pending;
        }
        let mut pieces = Pieces { bytes: self.bytes, size: TRICKLE };
        let read = Pin::new(&mut pieces).poll_read(cx, buffer);
        self.bytes = pieces.bytes;
        read
    }
}

impl Verdict {
    pub(super) fn of(bytes: &[u8]) -> Self {
        let mut context = Context::from_waker(Waker::noop());
        let mut polls = 0..2 * (bytes.len() / TRICKLE) + IDLE_POLLS;
        let stream = join(Trickle { bytes, is_due: false }, sink());
        let mut handshake = std::pin::pin!(server::handshake(stream));
        let connection = polls.find_map(|_| match handshake.as_mut().poll(&mut context) {
            Poll::Ready(connection) => Some(connection),
            Poll::Pending => None,
        });
        let Some(Ok(mut connection)) = connection else { return Self::default() };
        let mut verdict = Self::default();
        // A stream whose handles are dropped is reset.
        let mut streams = Vec::new();
        while !polls.is_empty() {
            match connection.poll_accept(&mut context) {
                Poll::Ready(Some(Ok((request, respond)))) => {
                    let (parts, body) = request.into_parts();
                    verdict.requests.push((respond.stream_id(), described(&parts)));
                    streams.push((body, respond));
                }
                Poll::Ready(Some(Err(error))) => {
                    verdict.reason = error.reason();
                    break;
                }
                Poll::Ready(None) => break,
                Poll::Pending => drop(polls.next()),
            }
        }
        verdict
    }
}

fn described(parts: &Parts) -> String {
    let Parts { method, uri, headers, .. } = parts;
    format!("{method} {uri:?} {headers:?}")
}
