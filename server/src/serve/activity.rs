//! Tracks open streams of a connection, to close it when idle.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::sleep;

/// The streams of one connection. Each call is one.
#[derive(Debug, Default)]
pub(super) struct Activity {
    /// The largest number of open streams; 0 if it does not matter.
    max_open: usize,
    open: AtomicUsize,
    /// The number of streams opened so far.
    opened: AtomicU64,
    /// Notified when the last open stream ends.
    idle: Notify,
    /// The number of times that the connection's task was polled.
    turn: AtomicU64,
    /// Notified when the peer has reset too many streams.
    reset_flood: Notify,
    /// Whether the peer has sent too many frames without a call.
    control_flood: AtomicBool,
}

/// Counts a stream as open until it is dropped.
#[derive(Debug)]
pub(super) struct StreamGuard(Arc<Activity>);

impl Activity {
    /// Returns the activity of a connection that may have `max_open` streams open.
    pub(super) fn new(max_open: usize) -> Self {
        Self { max_open, ..Self::default() }
    }

    /// Returns true if no stream was ever opened.
    pub(super) fn is_unused(&self) -> bool {
        self.opened.load(Ordering::Relaxed) == 0
    }

    /// Waits until no stream was open for `timeout`, or for up to twice as long: streams are compared
    /// only when the timeout has passed, so that a call needs no timer. Nothing wakes while a stream
    /// is open.
    pub(super) async fn idle_for(&self, timeout: Duration) {
        loop {
            let opened = self.opened.load(Ordering::Relaxed);
            sleep(timeout).await;
            if self.open.load(Ordering::Relaxed) > 0 {
                self.idle.notified().await;
            } else if self.opened.load(Ordering::Relaxed) == opened {
                return;
            }
        }
    }

    /// Begins another turn of reading.
    pub(super) fn begin_turn(&self) {
        self.turn.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns the number of the turn.
    pub(super) fn turn(&self) -> u64 {
        self.turn.load(Ordering::Relaxed)
    }

    /// Reports that the peer has reset too many streams.
    pub(super) fn report_reset_flood(&self) {
        self.reset_flood.notify_one();
    }

    /// Waits for [`Activity::report_reset_flood`].
    pub(super) async fn reset_flood(&self) {
        self.reset_flood.notified().await;
    }

    /// Reports that the peer has sent too many frames without a call.
    pub(super) fn report_control_flood(&self) {
        self.control_flood.store(true, Ordering::Relaxed);
    }

    /// Returns whether [`Activity::report_control_flood`] was called.
    pub(super) fn has_control_flood(&self) -> bool {
        self.control_flood.load(Ordering::Relaxed)
    }

    /// Counts a stream, and returns true if it is the last one that the connection may have.
    pub(super) fn begin(activity: &Arc<Self>) -> (StreamGuard, bool) {
        let before = activity.open.fetch_add(1, Ordering::Relaxed);
        activity.opened.fetch_add(1, Ordering::Relaxed);
        (StreamGuard(Arc::clone(activity)), before.checked_add(1) == Some(activity.max_open))
    }
}

impl Drop for StreamGuard {
    fn drop(&mut self) {
        if self.0.open.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.0.idle.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use tokio::time::{advance, pause};

    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(60);

    /// The limit is reported once each time that it is reached.
    #[test]
    fn the_last_stream_of_a_connection_is_recognized() {
        let activity = Arc::new(Activity::new(2));
        let (_first, is_last) = Activity::begin(&activity);
        assert!(!is_last);
        for _ in 0..2 {
            let (second, is_last) = Activity::begin(&activity);
            assert!(is_last);
            // A stream beyond the limit: the caller has reset one that is still open here.
            assert!(!Activity::begin(&activity).1);
            drop(second);
        }
        assert!(!Activity::begin(&Arc::default()).1);
    }

    #[tokio::test]
    async fn a_connection_is_idle_when_its_last_stream_ended_a_timeout_ago() {
        pause();
        let activity = Arc::new(Activity::default());
        let (stream, _) = Activity::begin(&activity);
        let mut idle = Box::pin(activity.idle_for(TIMEOUT));
        for _ in 0..10 {
            assert!(idle.as_mut().now_or_never().is_none());
            advance(TIMEOUT).await;
        }
        drop(stream);
        assert!(idle.as_mut().now_or_never().is_none());
        advance(TIMEOUT / 2).await;
        drop(Activity::begin(&activity));
        advance(TIMEOUT / 2).await;
        assert!(idle.as_mut().now_or_never().is_none());
        // The stored notification of that stream may cost one more timeout.
        advance(TIMEOUT).await;
        if idle.as_mut().now_or_never().is_none() {
            advance(TIMEOUT).await;
            idle.await;
        }
        assert!(!activity.is_unused());
    }
}
