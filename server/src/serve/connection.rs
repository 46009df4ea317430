//! The task of one connection.

use std::error::Error;
use std::future::{Future, pending, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http2::Builder;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::time::sleep;
use tokio_io_timeout::TimeoutStream;
use tokio_util::sync::CancellationToken;

use super::activity::Activity;
use super::frame_meter::FrameMeter;
use super::http2::{MAX_WRITE_STALL, StreamTasks};
use super::layers::CallService;
use super::paced_stream::PacedStream;
use crate::listen::Connection;
use crate::security::{Caller, Limit};

/// The time in which a connection without any call closes after GOAWAY. A peer that never began HTTP/2
/// does not receive it, and must not delay the agent's end.
const UNUSED_CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// The time in which the GOAWAY of a peer that resets too many streams is sent.
const FLOOD_CLOSE_TIMEOUT: Duration = Duration::from_millis(100);

/// One accepted connection.
pub(super) struct ConnectionTask<S> {
    pub(super) http: Builder<StreamTasks>,
    pub(super) service: S,
    pub(super) caller: Arc<Caller>,
    pub(super) activity: Arc<Activity>,
    pub(super) max_streams: u32,
    /// The time without a call after which the connection is closed.
    pub(super) idle_timeout: Option<Duration>,
    /// Cancelled when the agent drains.
    pub(super) stop: CancellationToken,
}

/// The reason why the agent closes a connection.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Close {
    Idle,
    Draining,
    ResetFlood,
}

impl<S: CallService> ConnectionTask<S> {
    /// Serves until the peer leaves, or the connection is idle or drained and has ended.
    pub(super) async fn run(self, connection: Connection) {
        let activity = Arc::clone(&self.activity);
        let meter = FrameMeter::new(self.max_streams, Arc::clone(&self.caller));
        let stream = PacedStream::new(connection, meter, activity);
        let mut stream = TimeoutStream::new(stream);
        stream.set_write_timeout(Some(MAX_WRITE_STALL));
        let stream = TokioIo::new(Box::pin(stream));
        let service = TowerToHyperService::new(self.service.clone());
        let mut http = pin!(self.http.serve_connection(stream, service));
        let close = tokio::select! {
            ended = self.in_turns(http.as_mut()) => return self.log_end(ended),
            close = self.close() => close,
        };
        self.count(close);
        http.as_mut().graceful_shutdown();
        tokio::select! {
            ended = self.in_turns(http.as_mut()) => self.log_end(ended),
            () = self.close_timeout(close) => {}
        }
    }

    /// Polls HTTP/2 to its end, and has each poll read no more than a turn.
    async fn in_turns<F: Future>(&self, mut http: Pin<&mut F>) -> F::Output {
        poll_fn(|cx| {
            self.activity.begin_turn();
            http.as_mut().poll(cx)
        })
        .await
    }

    fn count(&self, close: Close) {
        match close {
            Close::Idle => {
                self.caller.reject(Limit::IdleTime, &"the connection was closed, as it was idle");
            }
            Close::ResetFlood => {
                let what = "the connection was closed, as it reset too many streams";
                self.caller.reject(Limit::Protocol, &what);
            }
            Close::Draining => {}
        }
    }

    /// Waits for a reason to close the connection.
    async fn close(&self) -> Close {
        let idle = async {
            match self.idle_timeout {
                Some(timeout) => self.activity.idle_for(timeout).await,
                None => pending().await,
            }
        };
        tokio::select! {
            () = self.stop.cancelled() => Close::Draining,
            () = idle => Close::Idle,
            () = self.activity.reset_flood() => Close::ResetFlood,
        }
    }

    /// Waits until the connection is closed whatever it still carries.
    async fn close_timeout(&self, close: Close) {
        if close == Close::ResetFlood {
            return sleep(FLOOD_CLOSE_TIMEOUT).await;
        }
        sleep(UNUSED_CLOSE_TIMEOUT).await;
        if !self.activity.is_unused() {
            pending::<()>().await;
        }
    }

    /// Logs how the connection ended.
    fn log_end(&self, ended: hyper::Result<()>) {
        let principal = self.caller.principal();
        if self.activity.has_control_flood() {
            let what = "the connection was closed, as it sent too many frames without a call";
            self.caller.reject(Limit::Protocol, &what);
        }
        let Err(error) = ended else {
            tracing::debug!(%principal, "disconnected");
            return;
        };
        if is_misuse(&error) {
            self.caller.reject(Limit::Protocol, &"the connection was closed, as it misused HTTP/2");
        }
        tracing::debug!(%principal, %error, "connection failed");
    }
}

/// Returns true if HTTP/2 closed the connection because the peer only made work.
fn is_misuse(error: &hyper::Error) -> bool {
    let http = error.source().and_then(|cause| cause.downcast_ref::<h2::Error>());
    http.is_some_and(|http| http.reason() == Some(h2::Reason::ENHANCE_YOUR_CALM))
}
