//! Accepted connections, each served by a task, and the tower layers that their calls pass.

mod activity;
mod connection;
#[cfg(test)]
mod fixtures;
mod frame_cursor;
mod frame_meter;
mod http2;
mod layers;
mod overflow;
mod paced_stream;
mod send_timeout;

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic::transport::server::Connected;

use self::activity::Activity;
use self::connection::ConnectionTask;
use self::http2::Http2;
use self::layers::{CallService, ConnectionContext, layered};
use self::overflow::RejectedConnection;
use crate::listen::{Connection, Incoming};
use crate::security::{Caller, Callers, LimitReached};

pub(crate) use self::http2::{RECEIVE_WINDOW, max_header_list};
pub(crate) use self::layers::CallSize;

/// The limits of one connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ConnectionLimits {
    /// The largest number of open streams, which HTTP/2 announces; further calls wait in the caller.
    pub(crate) streams: u32,
    /// The largest request and header list of a call.
    pub(crate) size: CallSize,
    /// The time without a call after which the connection is closed.
    pub(crate) idle: Option<Duration>,
}

/// Serves connections.
#[derive(Debug)]
pub(crate) struct Server {
    /// The gRPC services.
    pub(crate) routes: Routes,
    /// The principals, and what they hold.
    pub(crate) callers: Arc<Callers>,
    /// The limits of each connection.
    pub(crate) limits: ConnectionLimits,
}

impl Server {
    /// Serves incoming connections until `stop`. Each connection is then sent a GOAWAY, and its calls
    /// and streams are awaited. Dropping the future aborts all of them.
    pub(crate) async fn run(self, mut incoming: Incoming, stop: CancellationToken) {
        let http = Http2::new(&self.limits);
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                accepted = incoming.next() => match accepted {
                    Some(Ok(connection)) => self.begin(connection, &http, &stop, &mut connections),
                    // `Incoming` has logged it.
                    Some(Err(_)) => {}
                    None => break,
                },
                Some(_) = connections.join_next() => {}
            }
        }
        // Closes the listeners, so that no client waits in a queue that is not accepted from.
        drop(incoming);
        while connections.join_next().await.is_some() {}
        http.streams.0.close();
        http.streams.0.wait().await;
    }

    fn begin(
        &self,
        connection: Connection,
        http: &Http2,
        stop: &CancellationToken,
        connections: &mut JoinSet<()>,
    ) {
        let principal = connection.connect_info();
        let reached = match self.callers.connect(&principal) {
            Ok(caller) => {
                tracing::debug!(%principal, "connected");
                connections.spawn(self.regular(caller, http, stop).run(connection));
                return;
            }
            Err(reached) => reached,
        };
        // A connection that waited for another one to end would look like an agent that hangs. When
        // too many are being rejected already, it is closed without a response.
        if let Some(caller) = self.callers.connect_overflow(&principal) {
            tracing::debug!(%principal, "connected beyond the limit");
            connections.spawn(self.rejected(caller, reached, http, stop).run(connection));
        }
    }

    fn regular(
        &self,
        caller: Arc<Caller>,
        http: &Http2,
        stop: &CancellationToken,
    ) -> ConnectionTask<impl CallService> {
        let streams = usize::try_from(self.limits.streams).unwrap_or(usize::MAX);
        let activity = Arc::new(Activity::new(streams));
        ConnectionTask {
            http: http.regular.clone(),
            service: self.service(&caller, &activity, None),
            caller,
            activity,
            max_streams: self.limits.streams,
            idle_timeout: self.limits.idle,
            stop: stop.clone(),
        }
    }

    fn rejected(
        &self,
        caller: Arc<Caller>,
        reached: LimitReached,
        http: &Http2,
        stop: &CancellationToken,
    ) -> RejectedConnection<impl CallService> {
        let activity = Arc::default();
        RejectedConnection::new(ConnectionTask {
            http: http.overflow.clone(),
            service: self.service(&caller, &activity, Some(reached)),
            caller,
            activity,
            max_streams: self.limits.streams,
            idle_timeout: None,
            stop: stop.clone(),
        })
    }

    fn service(
        &self,
        caller: &Arc<Caller>,
        activity: &Arc<Activity>,
        overflow: Option<LimitReached>,
    ) -> impl CallService + use<> {
        let (caller, activity) = (Arc::clone(caller), Arc::clone(activity));
        let context = ConnectionContext { caller, activity, size: self.limits.size, overflow };
        layered(self.routes.clone(), context)
    }
}
