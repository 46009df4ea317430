//! The end of a running agent.

use std::sync::Arc;
use std::time::Duration;

use super::Running;
use crate::exits::Exits;
use crate::handover::Handover;
use crate::notify;
use crate::rpc::Node;
use crate::worker::Worker;

/// The longest drain while sockets wait for a successor: nobody reads them meanwhile.
const HANDOVER_DRAIN: Duration = Duration::from_secs(1);
/// Name of the thread that ends the exits.
const ENDING_THREAD: &str = "ending";

/// How an agent ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drained {
    /// All calls and streams came to their end.
    Complete,
    /// Some did not by the deadline, and were cut off.
    CutOff,
}

impl Running {
    /// Tells watchers their last cursor, lets calls finish, and ends at the deadline at the latest.
    pub async fn drain(mut self) -> Drained {
        let _always_watch = match self.health_task.take() {
            Some(task) => task.end().await,
            None => None,
        };
        self.health.end().await;
        self.stop.cancel();
        let end = Arc::new(Ending {
            exits: Arc::clone(&self.exits),
            node: Arc::clone(&self.node),
            handover: self.handover.take().filter(|_| notify::is_heard()),
        });
        let timeout = match end.handover {
            Some(_) => self.drain_timeout.min(HANDOVER_DRAIN),
            None => self.drain_timeout,
        };
        let ending = end.start();
        let drained = tokio::time::timeout(timeout, async {
            if let Some(reloading) = self.reloading.take() {
                reloading.abort();
                // It was told to end, and has nothing to say.
                drop(reloading.await);
            }
            let ended = match ending {
                Some(ending) => ending.result().await.is_some(),
                None => true,
            };
            ended && (&mut self.serving).await.is_ok()
        });
        if drained.await.unwrap_or(false) {
            return Drained::Complete;
        }
        tracing::warn!("cut off what had not ended by the deadline: {}", self.in_flight);
        self.serving.abort();
        Drained::CutOff
    }
}

/// The end of the exits, which may wait.
struct Ending {
    exits: Arc<Exits>,
    node: Arc<Node>,
    /// Only under a service manager.
    handover: Option<Handover>,
}

impl Ending {
    /// Runs beside the event loop, because it waits for the reader and writes a file; and not behind
    /// slow calls, because they may take all of its time. Without a thread it has run already.
    fn start(self: Arc<Self>) -> Option<Worker<()>> {
        let end = Arc::clone(&self);
        match Worker::start(ENDING_THREAD, move || end.run()) {
            Ok(worker) => Some(worker),
            Err(error) => {
                tracing::warn!(%error, "no thread could be started to end on");
                self.run();
                None
            }
        }
    }

    /// Ends the reader; leaves its sockets and the history to a successor, if there is a way.
    fn run(&self) {
        let Some(handover) = &self.handover else {
            self.exits.stop();
            return;
        };
        match handover.leave(&self.node.instance_id, self.exits.stop_and_hand_off()) {
            Ok(()) => tracing::info!("left sockets and history to the next run"),
            Err(error) => tracing::warn!(%error, "nothing is left to the next run"),
        }
    }
}
