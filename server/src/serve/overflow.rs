//! A connection beyond `--max-connections`. Its calls are rejected with the reason and the time to
//! retry, which a connection that is closed at once cannot give; gRPC clients see that as a network
//! failure.

use std::time::Duration;

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::connection::ConnectionTask;
use super::layers::CallService;
use crate::listen::Connection;

/// The time after which the peer is sent a GOAWAY. Clients call within milliseconds after they
/// connect, and one that reconnects in a loop is slowed down.
const GRACE: Duration = Duration::from_secs(1);
/// The time after that in which the peer has to close the connection.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// Serves a connection for a short time, whatever its peer does.
pub(super) struct RejectedConnection<S> {
    task: ConnectionTask<S>,
    close: CancellationToken,
}

impl<S: CallService> RejectedConnection<S> {
    /// Limits the lifetime of `task`, which uses a layer stack that rejects its calls.
    pub(super) fn new(task: ConnectionTask<S>) -> Self {
        let close = task.stop.child_token();
        let task = ConnectionTask { stop: close.clone(), ..task };
        Self { task, close }
    }

    /// Serves until the peer leaves, the time is over, or the agent drains.
    pub(super) async fn run(self, connection: Connection) {
        let Self { task, close } = self;
        let principal = task.caller.principal().to_string();
        let limit = async {
            sleep(GRACE).await;
            close.cancel();
            sleep(CLOSE_TIMEOUT).await;
        };
        tokio::select! {
            () = task.run(connection) => {}
            () = limit => tracing::debug!(principal, "aborted a rejected connection"),
        }
    }
}
