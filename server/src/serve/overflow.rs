//! A connection for which there is no room: it is told so, and closed soon.

use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http2::Builder;
use hyper_util::rt::TokioIo;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::connection::{Streams, note};
use crate::listen::Connection;
use crate::rpc::Gate;
use crate::security::Caller;

/// How long its calls are answered before it is told to go. Callers that connect first and call then need
/// milliseconds; who comes back at once meets this delay, and not a loop.
const STAY: Duration = Duration::from_secs(1);
/// How long it may be there in all. It is closed then, whatever it does.
const LONGEST_STAY: Duration = Duration::from_secs(2);

/// What such a connection is served with.
pub(super) struct RejectedConnection {
    pub(super) connection: Builder<Streams>,
    pub(super) caller: Arc<Caller>,
    pub(super) stop: CancellationToken,
}

impl RejectedConnection {
    /// Answers calls as `gate` does, until the peer leaves, its time is over, or the agent ends.
    pub(super) async fn run(self, connection: Connection, gate: Gate) {
        if timeout(LONGEST_STAY, self.answer(connection, gate)).await.is_err() {
            tracing::debug!(principal = %self.caller.principal(), "cut off, as it stayed too long");
        }
    }

    async fn answer(&self, connection: Connection, gate: Gate) {
        let http = self.connection.serve_connection(TokioIo::new(connection), gate);
        let mut http = std::pin::pin!(http);
        tokio::select! {
            ended = &mut http => return note(&self.caller, ended),
            () = sleep(STAY) => {}
            () = self.stop.cancelled() => {}
        }
        http.as_mut().graceful_shutdown();
        note(&self.caller, http.await);
    }
}
