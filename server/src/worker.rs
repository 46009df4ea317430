//! Blocking work on a thread of its own, so that neither the event loop nor slow calls delay it.

use std::io;
use std::thread::{Builder, JoinHandle};

use tokio::sync::oneshot;

/// A thread that runs one function.
#[derive(Debug)]
pub(crate) struct Worker<T> {
    thread: JoinHandle<()>,
    result: oneshot::Receiver<T>,
}

impl<T: Send + 'static> Worker<T> {
    /// Starts the thread. The function runs to its end even if no caller waits for it.
    ///
    /// # Errors
    /// The error of the system if it starts no thread.
    pub(crate) fn start(name: &str, work: impl FnOnce() -> T + Send + 'static) -> io::Result<Self> {
        let (sender, result) = oneshot::channel();
        // The receiver may have been dropped.
        let work = move || drop(sender.send(work()));
        let thread = Builder::new().name(name.to_owned()).spawn(work)?;
        Ok(Self { thread, result })
    }

    /// Waits for the function and returns its result; `None` if it panicked.
    pub(crate) async fn result(self) -> Option<T> {
        let result = self.result.await.ok();
        // The thread has nothing left to do. The panic hook has already reported a panic.
        drop(self.thread.join());
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_result_is_returned() {
        let worker = Worker::start("worker", || std::thread::current().name().map(str::to_owned));
        assert_eq!(worker.unwrap().result().await.flatten().as_deref(), Some("worker"));
    }

    #[tokio::test]
    async fn a_panic_has_no_result() {
        let worker = Worker::start("panic", || panic!("on purpose")).unwrap();
        assert_eq!(worker.result().await, None::<()>);
    }
}
