//! The settings of HTTP/2, and the tasks of its streams.

use std::future::Future;
use std::time::Duration;

use hyper::server::conn::http2::Builder;
use hyper_util::rt::TokioTimer;
use tokio_util::task::TaskTracker;

use super::ConnectionLimits;
use super::paced_stream::RESETS_IN_TURN;
use super::send_timeout::with_send_timeout;

/// The time of silence after which a peer is sent a ping.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(30);
/// The longest time in which a peer acknowledges a ping.
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(20);
/// The longest time in which a peer accepts nothing of what is sent to it: as long as it may leave a
/// ping without acknowledgement. Without it, the connection of a peer that vanished would last until
/// TCP gives up after a quarter of an hour, because HTTP/2 waits until its GOAWAY is sent.
pub(super) const MAX_WRITE_STALL: Duration = KEEPALIVE_INTERVAL.saturating_add(KEEPALIVE_TIMEOUT);
/// The largest number of streams of a connection that HTTP/2 reset because of the peer's errors. A
/// peer with more only makes work, and its connection is closed.
const MAX_ERROR_RESETS: usize = 1024;
/// Header lists are read up to this multiple of the allowed size, and up to [`MIN_HEADER_LIST`], so
/// that a list that is too long is rejected by its own call, and counted. HTTP/2 limits the number of
/// CONTINUATION frames by the same size (CVE-2024-27316).
const HEADER_LIST_FACTOR: u32 = 2;
/// The size of the header list that is read in any case: the default limit of a request's headers.
/// HTTP/2 announces it, and clients that respect it send no more.
const MIN_HEADER_LIST: u32 = 64 << 10;
/// The largest number of streams of a connection beyond the limit. Each is rejected at once, so open
/// streams are those whose response the peer has not received.
const OVERFLOW_STREAMS: u32 = 16;
/// The receive window of such a connection, which is HTTP/2's initial one (RFC 9113, section 6.9.2).
const OVERFLOW_WINDOW: u32 = 65_535;

/// The receive window of a connection: several requests of the default maximum size. hyper's default of
/// 1 MiB would be held by each connection whose requests are not read.
pub(crate) const RECEIVE_WINDOW: u32 = 384 << 10;

/// Returns the size up to which header lists are read if `allowed` bytes are accepted. A connection
/// holds as much of a list that never ends.
#[must_use]
pub(crate) fn max_header_list(allowed: usize) -> u32 {
    let allowed = u32::try_from(allowed).unwrap_or(u32::MAX);
    allowed.saturating_mul(HEADER_LIST_FACTOR).max(MIN_HEADER_LIST)
}

/// HTTP/2 for all connections of a server.
pub(super) struct Http2 {
    /// For connections within the limit.
    pub(super) regular: Builder<StreamTasks>,
    /// For connections beyond the limit.
    pub(super) overflow: Builder<StreamTasks>,
    /// The tasks of the streams of both.
    pub(super) streams: StreamTasks,
}

/// Runs each stream in a task, and keeps track of the tasks so that the server can join them.
#[derive(Clone, Debug)]
pub(super) struct StreamTasks(pub(super) TaskTracker);

impl Http2 {
    pub(super) fn new(limits: &ConnectionLimits) -> Self {
        let streams = StreamTasks(TaskTracker::new());
        let mut regular = Builder::new(streams.clone());
        regular
            .timer(TokioTimer::new())
            .keep_alive_interval(KEEPALIVE_INTERVAL)
            .keep_alive_timeout(KEEPALIVE_TIMEOUT)
            .initial_connection_window_size(RECEIVE_WINDOW)
            .initial_stream_window_size(RECEIVE_WINDOW)
            .max_concurrent_streams(limits.streams)
            .max_header_list_size(max_header_list(limits.size.headers))
            .max_pending_accept_reset_streams(max_pending_resets(limits.streams))
            .max_local_error_reset_streams(MAX_ERROR_RESETS);
        let mut overflow = regular.clone();
        overflow
            .max_concurrent_streams(limits.streams.min(OVERFLOW_STREAMS))
            .initial_stream_window_size(OVERFLOW_WINDOW)
            .initial_connection_window_size(OVERFLOW_WINDOW);
        Self { regular, overflow, streams }
    }
}

/// Returns the largest number of streams of a connection that a peer may open and reset before hyper
/// accepts them; with more, the connection is closed. A client that cancels all of its calls at once
/// resets as many streams as it may have open, and no fewer than fit into one turn of [`super::paced_stream`],
/// which bounds resets over a longer time. h2's default of 20 closes connections of honest clients.
fn max_pending_resets(streams: u32) -> usize {
    usize::try_from(streams.max(RESETS_IN_TURN)).unwrap_or(usize::MAX)
}

impl<F: Future<Output = ()> + Send + 'static> hyper::rt::Executor<F> for StreamTasks {
    fn execute(&self, stream: F) {
        self.0.spawn(with_send_timeout(stream));
    }
}
