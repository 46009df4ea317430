//! The commands to the reader, and their sender.

use std::fmt;
use std::sync::mpsc;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::oneshot;

use crate::taskstats::{Cpumask, KernelError, Wake};

/// A command to the reader.
pub(super) enum ReaderCommand {
    /// Listen on these CPUs for one more watcher.
    Watch { cpus: Cpumask, done: oneshot::Sender<Result<Claim, KernelError>> },
    /// A watcher of these CPUs has left.
    Unwatch { cpus: Cpumask },
    /// Drain the sockets and end.
    Stop(SocketDisposition),
}

/// The disposition of the sockets when the reader ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::exits) enum SocketDisposition {
    /// They listen no more.
    Close,
    /// They are given to a successor.
    Keep,
}

/// Sends commands to a reader. Clones are handles of the same reader.
#[derive(Clone, Debug)]
pub(in crate::exits) struct ReaderHandle {
    commands: mpsc::Sender<ReaderCommand>,
    shared: Arc<ReaderShared>,
}

/// A claim that CPUs are listened to, such as a watcher's. Dropping it ends the claim.
#[derive(Debug)]
pub(crate) struct Claim {
    cpus: Cpumask,
    reader: ReaderHandle,
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.reader.send(ReaderCommand::Unwatch { cpus: std::mem::take(&mut self.cpus) });
    }
}

/// The state that the reader shares with other threads.
#[derive(Default)]
struct ReaderShared {
    /// Ends the reader's wait; `None` while it waits for commands only.
    waker: Mutex<Option<Box<dyn Wake>>>,
    watched: Mutex<Cpumask>,
}

impl fmt::Debug for ReaderShared {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("ReaderShared")
            .field("watched", &self.watched)
            .finish_non_exhaustive()
    }
}

impl ReaderHandle {
    pub(super) fn new(commands: mpsc::Sender<ReaderCommand>) -> Self {
        Self { commands, shared: Arc::default() }
    }

    /// Registers for exits on `cpus`, and waits until it is done. `None` when the reader has ended.
    pub(in crate::exits) async fn watch(
        &self,
        cpus: Cpumask,
    ) -> Option<Result<Claim, KernelError>> {
        let (done, outcome) = oneshot::channel();
        self.send(ReaderCommand::Watch { cpus, done });
        outcome.await.ok()
    }

    /// Returns a claim on CPUs that the reader listens to.
    pub(super) fn claim(&self, cpus: Cpumask) -> Claim {
        Claim { cpus, reader: self.clone() }
    }

    /// Requests the end of the reader.
    pub(in crate::exits) fn stop(&self, disposition: SocketDisposition) {
        self.send(ReaderCommand::Stop(disposition));
    }

    /// Returns the CPUs that are listened to.
    pub(in crate::exits) fn watched(&self) -> Cpumask {
        self.shared.watched.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Sets what ends the reader's wait; `None` while it waits for commands only.
    pub(super) fn set_waker(&self, waker: Option<Box<dyn Wake>>) {
        *self.shared.waker.lock().unwrap_or_else(PoisonError::into_inner) = waker;
    }

    pub(super) fn set_watched(&self, cpus: Cpumask) {
        *self.shared.watched.lock().unwrap_or_else(PoisonError::into_inner) = cpus;
    }

    /// Commands to a reader that has ended are ignored, because it listens to nothing.
    fn send(&self, command: ReaderCommand) {
        if self.commands.send(command).is_ok() {
            let waker = self.shared.waker.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(waker) = &*waker {
                waker.wake();
            }
        }
    }
}
