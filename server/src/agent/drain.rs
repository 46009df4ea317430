//! Draining: the end of a running agent.

use std::sync::Arc;
use std::time::Duration;

use super::Running;
use crate::exits::Exits;
use crate::handover::Handover;
use crate::notify;
use crate::rpc::Node;
use crate::worker::Worker;

/// The longest drain while sockets wait for the next run, because they are not read meanwhile.
const MAX_HANDOVER_DRAIN: Duration = Duration::from_secs(1);
/// Name of the thread that ends the exit reader.
const ENDING_THREAD: &str = "ending";

/// The outcome of a drain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drained {
    /// All calls and streams ended.
    Complete,
    /// The deadline or a second signal aborted some.
    Aborted,
}

impl Running {
    /// Sends watchers their last cursor, waits for calls in flight, and aborts them at the deadline.
    pub async fn drain(mut self) -> Drained {
        let _always_watch = match self.health_task.take() {
            Some(task) => task.end().await,
            None => None,
        };
        self.health.end().await;
        self.stop.cancel();
        let ending = Arc::new(Ending {
            exits: Arc::clone(&self.exits),
            node: Arc::clone(&self.node),
            handover: self.handover.take().filter(|_| notify::is_available()),
        });
        let timeout = match ending.handover {
            Some(_) => self.drain_timeout.min(MAX_HANDOVER_DRAIN),
            None => self.drain_timeout,
        };
        let worker = ending.start();
        let drained = tokio::time::timeout(timeout, async {
            if let Some(reloading) = self.reloading.take() {
                reloading.abort();
                // An aborted task has no outcome to report.
                drop(reloading.await);
            }
            let has_ended = match worker {
                Some(worker) => worker.result().await.is_some(),
                None => true,
            };
            has_ended && (&mut self.serving).await.is_ok()
        });
        if drained.await.unwrap_or(false) {
            tracing::info!("drained");
            return Drained::Complete;
        }
        tracing::warn!("drain deadline exceeded; aborting {}", self.in_flight);
        self.serving.abort();
        Drained::Aborted
    }
}

/// The end of the exit reader, which can block.
struct Ending {
    exits: Arc<Exits>,
    node: Arc<Node>,
    /// Present only under a service manager.
    handover: Option<Handover>,
}

impl Ending {
    /// Ends the exit reader on a thread: it waits for the reader and writes a file, so it would block the
    /// event loop, and the threads for blocking calls can all be busy. Where no thread can be started, the
    /// reader has ended when this returns `None`.
    fn start(self: Arc<Self>) -> Option<Worker<()>> {
        let ending = Arc::clone(&self);
        match Worker::start(ENDING_THREAD, move || ending.run()) {
            Ok(worker) => Some(worker),
            Err(error) => {
                tracing::warn!(%error, "starting a thread for the end of the exit reader failed");
                self.run();
                None
            }
        }
    }

    /// Ends the exit reader, and hands its sockets and the history over to the next run where possible.
    fn run(&self) {
        let Some(handover) = &self.handover else {
            self.exits.stop();
            return;
        };
        match handover.leave(&self.node.instance_id, self.exits.stop_and_hand_off()) {
            Ok(()) => tracing::info!("handed sockets and history over to the next run"),
            Err(error) => tracing::warn!(%error, "handing over to the next run failed"),
        }
    }
}
