//! Whether anything goes on on a connection.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::sleep;

/// Calls and streams of one connection.
#[derive(Debug, Default)]
pub struct Activity {
    /// As many as it may have at once; 0 where that is nobody's business.
    most: usize,
    /// Streams that are open.
    open: AtomicUsize,
    /// Begun so far.
    begun: AtomicU64,
    /// Told when none is open any more.
    quiet: Notify,
}

/// A call or stream, until it is dropped.
#[derive(Debug)]
pub(super) struct StreamGuard(Arc<Activity>);

impl Activity {
    /// That of a connection that may have `most` streams at once.
    #[must_use]
    pub fn within(most: usize) -> Self {
        Self { most, ..Self::default() }
    }

    /// Whether there never was a call.
    #[must_use]
    pub fn is_untouched(&self) -> bool {
        self.begun.load(Ordering::Relaxed) == 0
    }

    /// Waits until there was no call for `longest`, or for up to twice that: the time is only looked at
    /// when it has passed, so that a call costs no timer. Nothing wakes while a stream is open.
    pub async fn unused(&self, longest: Duration) {
        loop {
            let begun = self.begun.load(Ordering::Relaxed);
            sleep(longest).await;
            if self.open.load(Ordering::Relaxed) > 0 {
                self.quiet.notified().await;
            } else if self.begun.load(Ordering::Relaxed) == begun {
                return;
            }
        }
    }

    /// Counts a call or stream; tells, too, whether it took the last one that the connection may have.
    pub(super) fn begin(activity: &Arc<Self>) -> (StreamGuard, bool) {
        let before = activity.open.fetch_add(1, Ordering::Relaxed);
        activity.begun.fetch_add(1, Ordering::Relaxed);
        (StreamGuard(Arc::clone(activity)), before.checked_add(1) == Some(activity.most))
    }
}

impl Drop for StreamGuard {
    fn drop(&mut self) {
        if self.0.open.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.0.quiet.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use tokio::time::{advance, pause};

    use super::*;

    const LONGEST: Duration = Duration::from_secs(60);

    /// Each time, and not again while it has all of them.
    #[test]
    fn the_last_stream_of_a_connection_is_told() {
        let activity = Arc::new(Activity::within(2));
        let (_first, last) = Activity::begin(&activity);
        assert!(!last);
        for _ in 0..2 {
            let (second, last) = Activity::begin(&activity);
            assert!(last);
            // Given up by its caller, but not yet here.
            assert!(!Activity::begin(&activity).1);
            drop(second);
        }
        assert!(!Activity::begin(&Arc::default()).1);
    }

    #[tokio::test]
    async fn a_connection_is_unused_once_its_last_stream_has_ended_for_a_while() {
        pause();
        let activity = Arc::new(Activity::default());
        let (stream, _) = Activity::begin(&activity);
        let mut unused = Box::pin(activity.unused(LONGEST));
        for _ in 0..10 {
            assert!(unused.as_mut().now_or_never().is_none());
            advance(LONGEST).await;
        }
        drop(stream);
        assert!(unused.as_mut().now_or_never().is_none());
        advance(LONGEST / 2).await;
        drop(Activity::begin(&activity));
        advance(LONGEST / 2).await;
        assert!(unused.as_mut().now_or_never().is_none());
        // What the call left behind may take it one more round.
        advance(LONGEST).await;
        if unused.as_mut().now_or_never().is_none() {
            advance(LONGEST).await;
            unused.await;
        }
        assert!(!activity.is_untouched());
    }
}
