//! How long a caller may take to read its answer. HTTP/2 does not ask a body for anything while the peer
//! gives no window, so that a body cannot end itself: the task of its stream is ended.

use std::future::Future;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::sleep;

use crate::security::{Caller, Limit};

/// Answers are at most some hundred kilobytes, which the slowest network takes in seconds.
const LONGEST_TAKING: Duration = Duration::from_secs(30);

tokio::task_local! {
    /// That of the stream whose task runs.
    static TAKING: Arc<Taking>;
}

/// Whether an answer is there to be taken.
#[derive(Debug, Default)]
struct Taking {
    answered: Notify,
    /// Whose it is.
    caller: OnceLock<Arc<Caller>>,
}

/// Runs the whole of a stream, and resets it when its answer is not taken in time. No timer is begun
/// for an answer that is taken at once.
pub async fn taken_in_time(stream: impl Future<Output = ()>) {
    let taking = Arc::<Taking>::default();
    tokio::select! {
        biased;
        () = TAKING.scope(Arc::clone(&taking), stream) => {}
        () = taking.overdue() => {}
    }
}

/// Says in the task of a stream that its answer is there, and has to be taken.
pub(super) fn begin(caller: &Arc<Caller>) {
    // Without such a task, nobody takes answers but a test.
    let _outside = TAKING.try_with(|taking| {
        taking.caller.get_or_init(|| Arc::clone(caller));
        taking.answered.notify_one();
    });
}

impl Taking {
    async fn overdue(&self) {
        self.answered.notified().await;
        sleep(LONGEST_TAKING).await;
        if let Some(caller) = self.caller.get() {
            let what = format_args!("the answer was not taken within {LONGEST_TAKING:?}");
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
    use crate::security::{
        Callers, Limits, MAX_REJECTED_CONNECTIONS, Policy, Principal, Redaction,
    };

    const LIMITS: Limits = Limits {
        connections: 1,
        rejected_connections: MAX_REJECTED_CONNECTIONS,
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
        let mut answered = Box::pin(taken_in_time(async {
            begin(&caller);
            pending::<()>().await;
        }));
        let mut unanswered = Box::pin(taken_in_time(pending()));
        assert!(answered.as_mut().now_or_never().is_none());
        assert!(unanswered.as_mut().now_or_never().is_none());
        advance(LONGEST_TAKING / 2).await;
        assert!(answered.as_mut().now_or_never().is_none());
        advance(LONGEST_TAKING).await;
        assert!(answered.as_mut().now_or_never().is_some());
        assert!(unanswered.as_mut().now_or_never().is_none());
        assert_eq!(callers.rejections().count(Limit::CallTime), 1);
    }
}
