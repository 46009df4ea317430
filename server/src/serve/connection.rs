//! One connection, from its first byte to its last.

use std::error::Error;
use std::future::{Future, pending};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http2::Builder;
use hyper_util::rt::TokioIo;
use tokio::time::sleep;
use tokio_io_timeout::TimeoutStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{KEEPALIVE_INTERVAL, KEEPALIVE_TIMEOUT};
use crate::listen::Connection;
use crate::rpc::{Activity, Gate, with_send_timeout};
use crate::security::{Caller, Limit};

/// How long a connection that never carried a call may take to end once it was told to. One that did
/// not even begin HTTP/2 cannot be told, and must not hold up the agent's end.
const FAREWELL: Duration = Duration::from_secs(1);

/// How long a peer may take nothing of what is sent to it: as long as it may leave a ping unanswered.
/// Without an end to this, one that vanished would keep its connection until TCP gives up, a quarter of
/// an hour later: HTTP/2 says goodbye to it first, and waits until that is sent.
const LONGEST_STALL: Duration = KEEPALIVE_INTERVAL.saturating_add(KEEPALIVE_TIMEOUT);

/// The tasks of HTTP/2's streams, which are waited for.
#[derive(Clone, Debug)]
pub(super) struct Streams(pub(super) TaskTracker);

impl<F: Future<Output = ()> + Send + 'static> hyper::rt::Executor<F> for Streams {
    fn execute(&self, stream: F) {
        self.0.spawn(with_send_timeout(stream));
    }
}

/// What a connection is served with.
pub(super) struct Served {
    pub(super) connection: Builder<Streams>,
    pub(super) caller: Arc<Caller>,
    pub(super) activity: Arc<Activity>,
    pub(super) idle: Option<Duration>,
    pub(super) stop: CancellationToken,
}

/// Why a connection is told to end.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Goodbye {
    Idle,
    Draining,
}

impl Served {
    /// Serves until the peer leaves, or is told to and does.
    pub(super) async fn run(self, connection: Connection, gate: Gate) {
        let mut stream = TimeoutStream::new(connection);
        stream.set_write_timeout(Some(LONGEST_STALL));
        let stream = TokioIo::new(Box::pin(stream));
        let mut http = pin!(self.connection.serve_connection(stream, gate));
        let goodbye = tokio::select! {
            ended = &mut http => return note(&self.caller, ended),
            goodbye = self.goodbye() => goodbye,
        };
        if goodbye == Goodbye::Idle {
            self.caller.reject(Limit::IdleTime, &"the connection was closed, as nobody used it");
        }
        http.as_mut().graceful_shutdown();
        tokio::select! {
            ended = &mut http => note(&self.caller, ended),
            () = self.farewell() => {}
        }
    }

    async fn goodbye(&self) -> Goodbye {
        let idle = async {
            match self.idle {
                Some(longest) => self.activity.unused(longest).await,
                None => pending().await,
            }
        };
        tokio::select! {
            () = self.stop.cancelled() => Goodbye::Draining,
            () = idle => Goodbye::Idle,
        }
    }

    /// Waits until a connection without any call has had its time.
    async fn farewell(&self) {
        sleep(FAREWELL).await;
        if !self.activity.is_untouched() {
            pending::<()>().await;
        }
    }
}

/// Tells how a connection ended.
pub(super) fn note(caller: &Caller, ended: hyper::Result<()>) {
    let principal = caller.principal();
    let Err(error) = ended else {
        tracing::debug!(%principal, "disconnected");
        return;
    };
    if is_misuse(&error) {
        caller.reject(Limit::Protocol, &"the connection was closed, as it misused HTTP/2");
    }
    tracing::debug!(%principal, %error, "the connection broke");
}

/// Whether HTTP/2 closed the connection because the peer only made work.
fn is_misuse(error: &hyper::Error) -> bool {
    let http = error.source().and_then(|cause| cause.downcast_ref::<h2::Error>());
    http.is_some_and(|http| http.reason() == Some(h2::Reason::ENHANCE_YOUR_CALM))
}
