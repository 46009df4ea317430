//! Resets streams whose response the peer does not receive in time.
//!
//! HTTP/2 does not poll the body of a response while the peer gives no flow-control window, so a body
//! cannot end itself. The task of its stream is ended instead.

use std::future::Future;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::sleep;

use crate::security::{Caller, Limit};

/// The longest time in which a response is sent. Responses are some hundred kilobytes at most, which
/// the slowest network transfers in seconds.
const MAX_SEND_TIME: Duration = Duration::from_secs(30);

tokio::task_local! {
    /// The timeout of the stream whose task runs.
    static SEND_TIMEOUT: Arc<SendTimeout>;
}

/// The state of one stream.
#[derive(Debug, Default)]
struct SendTimeout {
    responded: Notify,
    caller: OnceLock<Arc<Caller>>,
}

/// Runs the task of a stream, and drops it [`MAX_SEND_TIME`] after [`begin`]. A response that is sent
/// at once needs no timer.
pub(super) async fn with_send_timeout(stream: impl Future<Output = ()>) {
    let timeout = Arc::<SendTimeout>::default();
    tokio::select! {
        biased;
        () = SEND_TIMEOUT.scope(Arc::clone(&timeout), stream) => {}
        () = timeout.expired() => {}
    }
}

/// Starts the timeout in the task of a stream, when its response is there.
pub(super) fn begin(caller: &Arc<Caller>) {
    // Only a test calls the layers outside of such a task.
    let _outside = SEND_TIMEOUT.try_with(|timeout| {
        timeout.caller.get_or_init(|| Arc::clone(caller));
        timeout.responded.notify_one();
    });
}

impl SendTimeout {
    async fn expired(&self) {
        self.responded.notified().await;
        sleep(MAX_SEND_TIME).await;
        if let Some(caller) = self.caller.get() {
            let what = format_args!("the response was not received within {MAX_SEND_TIME:?}");
            caller.reject(Limit::CallTime, &what);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use futures_util::FutureExt;
    use tokio::time::{advance, pause};

    use super::*;
    use crate::serve::fixtures::{callers, connected};

    #[tokio::test]
    async fn a_response_that_is_not_received_ends_its_own_stream_only() {
        pause();
        let callers = callers();
        let caller = connected(&callers);
        let mut responded = Box::pin(with_send_timeout(async {
            begin(&caller);
            pending::<()>().await;
        }));
        let mut waiting = Box::pin(with_send_timeout(pending()));
        assert!(responded.as_mut().now_or_never().is_none());
        assert!(waiting.as_mut().now_or_never().is_none());
        advance(MAX_SEND_TIME / 2).await;
        assert!(responded.as_mut().now_or_never().is_none());
        advance(MAX_SEND_TIME).await;
        assert!(responded.as_mut().now_or_never().is_some());
        assert!(waiting.as_mut().now_or_never().is_none());
        assert_eq!(callers.rejections().count(Limit::CallTime), 1);
    }
}
