//! How long a caller may take to read its answer. HTTP/2 does not ask a body for anything while the peer
//! gives no window, so that a body cannot end itself: the task of its stream is ended.

use std::future::Future;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::sleep;

use crate::security::{Caller, Limit};

/// Answers are at most some hundred kilobytes, which the slowest network takes in seconds.
const MAX_SEND_TIME: Duration = Duration::from_secs(30);

tokio::task_local! {
    /// That of the stream whose task runs.
    static SEND_TIMEOUT: Arc<SendTimeout>;
}

/// Whether an answer is there to be taken.
#[derive(Debug, Default)]
struct SendTimeout {
    responded: Notify,
    /// Whose it is.
    caller: OnceLock<Arc<Caller>>,
}

/// Runs the whole of a stream, and resets it when its answer is not taken in time. No timer is begun
/// for an answer that is taken at once.
pub async fn with_send_timeout(stream: impl Future<Output = ()>) {
    let timeout = Arc::<SendTimeout>::default();
    tokio::select! {
        biased;
        () = SEND_TIMEOUT.scope(Arc::clone(&timeout), stream) => {}
        () = timeout.expired() => {}
    }
}

/// Says in the task of a stream that its answer is there, and has to be taken.
pub(super) fn begin(caller: &Arc<Caller>) {
    // Without such a task, nobody takes answers but a test.
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
            let what = format_args!("the answer was not taken within {MAX_SEND_TIME:?}");
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
    use crate::security::{Callers, Limits, MAX_OVERFLOW, Policy, Principal, Redaction};

    const LIMITS: Limits = Limits {
        connections: 1,
        overflow: MAX_OVERFLOW,
        watchers: 1,
        calls: 1,
        slow_calls: 1,
        share_percent: 100,
        call_rate: 0,
    };

    #[tokio::test]
    async fn an_answer_that_nobody_takes_ends_its_stream_and_another_stream_lasts() {
        pause();
        let callers = Arc::new(Callers::new(Policy::default(), Redaction::default(), LIMITS));
        let principal = Arc::new(Principal::Local { uid: 1, gid: 1 });
        let caller = callers.connect(&principal).unwrap();
        let mut answered = Box::pin(with_send_timeout(async {
            begin(&caller);
            pending::<()>().await;
        }));
        let mut unanswered = Box::pin(with_send_timeout(pending()));
        assert!(answered.as_mut().now_or_never().is_none());
        assert!(unanswered.as_mut().now_or_never().is_none());
        advance(MAX_SEND_TIME / 2).await;
        assert!(answered.as_mut().now_or_never().is_none());
        advance(MAX_SEND_TIME).await;
        assert!(answered.as_mut().now_or_never().is_some());
        assert!(unanswered.as_mut().now_or_never().is_none());
        assert_eq!(callers.rejections().count(Limit::CallTime), 1);
    }
}
