//! Work that waits, on a thread of its own: beside the event loop, and not behind the slow calls of
//! callers.

use std::io;
use std::thread::{Builder, JoinHandle};

use tokio::sync::oneshot;

/// A thread for one piece of work, which ends with it.
#[derive(Debug)]
pub struct Worker<T> {
    thread: JoinHandle<()>,
    outcome: oneshot::Receiver<T>,
}

impl<T: Send + 'static> Worker<T> {
    /// Begins to work, whether or not somebody waits for it.
    ///
    /// # Errors
    /// Why there is no thread.
    pub fn start(name: &str, work: impl FnOnce() -> T + Send + 'static) -> io::Result<Self> {
        let (sender, outcome) = oneshot::channel();
        // Whoever waited for it may be gone.
        let work = move || drop(sender.send(work()));
        let thread = Builder::new().name(name.to_owned()).spawn(work)?;
        Ok(Self { thread, outcome })
    }

    /// Waits for what came of it; `None` if it panicked.
    pub async fn outcome(self) -> Option<T> {
        let outcome = self.outcome.await.ok();
        // It has nothing left to do. What a panic says was told by then.
        drop(self.thread.join());
        outcome
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_came_of_it_is_told() {
        let worker = Worker::start("seven", || std::thread::current().name().map(str::to_owned));
        assert_eq!(worker.unwrap().outcome().await.flatten().as_deref(), Some("seven"));
    }

    #[tokio::test]
    async fn a_panic_is_no_outcome() {
        let worker = Worker::start("panic", || panic!("as the test wants")).unwrap();
        assert_eq!(worker.outcome().await, None::<()>);
    }
}
