//! Accepted connections, each served by a task of its own until the last of them has ended.

mod connection;
mod overflow;

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use hyper::server::conn::http2::Builder;
use hyper_util::rt::TokioTimer;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::service::Routes;
use tonic::transport::server::Connected;

use self::connection::{Served, Streams};
use self::overflow::RejectedConnection;
use crate::listen::{Connection, Incoming};
use crate::rpc::{Activity, CallSize, Gate};
use crate::security::{Caller, Callers, LimitReached};

/// Peers that vanished are noticed after an interval and a timeout of silence.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(30);
/// How long a peer may take to answer a ping.
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(20);
/// Streams that a peer opened and reset before they were looked at, on one connection: with more it is
/// closed, because it only makes work (rapid reset, CVE-2023-44487). A caller that changes its mind
/// does it a few times.
const MAX_PENDING_RESETS: usize = 20;
/// Streams that HTTP/2 reset here because of the peer's errors, on one connection, before it is closed.
const MAX_ERROR_RESETS: usize = 1024;
/// Header lists are read to so many times the size that is allowed, and to [`LENIENT_HEADERS`] at least,
/// so that a list that is too long can be answered and counted like other refusals. HTTP/2 limits
/// CONTINUATION frames to what such a list takes (CVE-2024-27316).
const HEADER_LENIENCY: u32 = 2;
/// Bytes of headers that are read whatever is allowed: as much as a request has by default. Clients that
/// know the limit of HTTP/2, which is this, send no more; others forgot where to stop.
const LENIENT_HEADERS: u32 = 64 << 10;
/// Streams at once of a connection that is turned away: each is answered as soon as it is there, so that
/// these are only answers that the peer did not take yet.
const OVERFLOW_STREAMS: u32 = 16;
/// What such a connection may send ahead: what each peer may until it is told otherwise (RFC 9113, 6.9.2).
/// None of it is read.
const SMALLEST_WINDOW: u32 = 65_535;

/// What a connection may send before it is read: some of the longest requests by default. hyper's own
/// megabyte would be kept for each connection whose requests nobody reads.
pub const RECEIVE_WINDOW: u32 = 384 << 10;

/// How long a list of headers is read, in bytes, where so many are allowed. A connection holds as much of
/// one that never ends.
#[must_use]
pub fn longest_header_list(allowed: usize) -> u32 {
    let allowed = u32::try_from(allowed).unwrap_or(u32::MAX);
    allowed.saturating_mul(HEADER_LENIENCY).max(LENIENT_HEADERS)
}

/// What one connection may do.
#[derive(Clone, Copy, Debug)]
pub struct ConnectionLimits {
    /// Streams at once; more wait in the caller, which is told the number.
    pub streams: u32,
    /// How large its calls may be.
    pub size: CallSize,
    /// How long it may be without a call, or for ever.
    pub idle: Option<Duration>,
}

/// Serves connections.
#[derive(Debug)]
pub struct Server {
    /// What is served.
    pub routes: Routes,
    /// Who calls.
    pub callers: Arc<Callers>,
    /// What one connection may do.
    pub limits: ConnectionLimits,
}

impl Server {
    /// Serves what comes in until `stop`, and then what has come in to its end: each connection is told
    /// that this is the end, and its calls and streams are waited for. Dropping the future ends all of
    /// them at once.
    pub async fn run(self, mut incoming: Incoming, stop: CancellationToken) {
        let http = self.http();
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                accepted = incoming.next() => match accepted {
                    Some(Ok(connection)) => self.begin(connection, &http, &stop, &mut connections),
                    // It was told where it happened.
                    Some(Err(_)) => {}
                    None => break,
                },
                Some(_) = connections.join_next() => {}
            }
        }
        // Nobody is to wait in the queue of a listener that nobody accepts from.
        drop(incoming);
        while connections.join_next().await.is_some() {}
        http.streams.0.close();
        http.streams.0.wait().await;
    }

    fn begin(
        &self,
        connection: Connection,
        http: &Http,
        stop: &CancellationToken,
        connections: &mut JoinSet<()>,
    ) {
        let principal = connection.connect_info();
        let full = match self.callers.connect(&principal) {
            Ok(caller) => {
                let (served, gate) = self.serve(caller, http, stop);
                connections.spawn(served.run(connection, gate));
                return;
            }
            Err(full) => full,
        };
        // One too many is told so at once: if it waited for its turn, the agent would seem to hang, and
        // callers know how to come back later. Those for whom even this is too much are just closed.
        if let Some(caller) = self.callers.connect_overflow(&principal) {
            let (told, gate) = self.connect_overflow(caller, full, http, stop);
            connections.spawn(told.run(connection, gate));
        }
    }

    fn serve(&self, caller: Arc<Caller>, http: &Http, stop: &CancellationToken) -> (Served, Gate) {
        tracing::debug!(principal = %caller.principal(), "connected");
        let streams = usize::try_from(self.limits.streams).unwrap_or(usize::MAX);
        let activity = Arc::new(Activity::within(streams));
        let gate = self.gate(Arc::clone(&caller), Arc::clone(&activity));
        let served = Served {
            connection: http.serving.clone(),
            caller,
            activity,
            idle: self.limits.idle,
            stop: stop.clone(),
        };
        (served, gate)
    }

    fn connect_overflow(
        &self,
        caller: Arc<Caller>,
        why: LimitReached,
        http: &Http,
        stop: &CancellationToken,
    ) -> (RejectedConnection, Gate) {
        tracing::debug!(principal = %caller.principal(), "connected, to be turned away");
        let gate = self.gate(Arc::clone(&caller), Arc::default()).overflowing(why);
        let connection = http.overflowing.clone();
        (RejectedConnection { connection, caller, stop: stop.clone() }, gate)
    }

    fn gate(&self, caller: Arc<Caller>, activity: Arc<Activity>) -> Gate {
        Gate::new(self.routes.clone(), caller, activity, self.limits.size)
    }

    fn http(&self) -> Http {
        let streams = Streams(TaskTracker::new());
        let mut serving = Builder::new(streams.clone());
        serving
            .timer(TokioTimer::new())
            .keep_alive_interval(KEEPALIVE_INTERVAL)
            .keep_alive_timeout(KEEPALIVE_TIMEOUT)
            .initial_connection_window_size(RECEIVE_WINDOW)
            .initial_stream_window_size(RECEIVE_WINDOW)
            .max_concurrent_streams(self.limits.streams)
            .max_header_list_size(longest_header_list(self.limits.size.headers))
            .max_pending_accept_reset_streams(MAX_PENDING_RESETS)
            .max_local_error_reset_streams(MAX_ERROR_RESETS);
        let mut overflowing = serving.clone();
        overflowing
            .max_concurrent_streams(self.limits.streams.min(OVERFLOW_STREAMS))
            .initial_stream_window_size(SMALLEST_WINDOW)
            .initial_connection_window_size(SMALLEST_WINDOW);
        Http { serving, overflowing, streams }
    }
}

/// How HTTP/2 is spoken, and the tasks of its streams.
struct Http {
    serving: Builder<Streams>,
    overflowing: Builder<Streams>,
    streams: Streams,
}
