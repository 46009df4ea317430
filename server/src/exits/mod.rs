//! From exit messages to streams.
//!
//! A thread takes exits from the kernel, encodes each once and appends it to the history. Watchers
//! read the history, each at its own pace; none can hold up the reader or another watcher.

mod chunk;
mod counters;
mod encode;
mod history;
mod intake;
mod pacer;
mod reader;
mod registry;
mod selection;
mod sequence;
mod tombstones;
mod totals;
mod watcher;

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use tokio::sync::watch;

pub use counters::{Counter, Counters};
pub use encode::encode_event;
pub use history::{FutureSequence, History, HistoryReport, KernelLoss, Start};
pub use reader::ReaderConfig;
pub use selection::{Fate, Scope, Selection};
pub use watcher::{Loss, OnLag, Stage, Told, WatchOptions, Watcher};

use self::reader::ReaderHandle;
use self::watcher::Shared;
use crate::taskstats::{Cpumask, Kernel, KernelError};

/// The exits of this machine, for any number of watchers.
#[derive(Debug)]
pub struct Exits {
    reader: ReaderHandle,
    /// Joined by [`Exits::stop`].
    thread: Mutex<Option<JoinHandle<()>>>,
    history: Arc<History>,
    counters: Arc<Counters>,
    newest: watch::Receiver<u64>,
}

/// Why a watch did not begin.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    /// The kernel refused to tell exits.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// The watcher wants to begin after an exit that has not happened.
    #[error(transparent)]
    Future(#[from] FutureSequence),
    /// The reader has ended.
    #[error("the exit reader has ended")]
    Ended,
}

impl Exits {
    /// Starts to serve exits. The kernel is not asked for any before someone watches.
    ///
    /// # Errors
    /// When the system starts no thread.
    pub fn start(
        kernel: Arc<dyn Kernel>,
        config: ReaderConfig,
        history_bytes: usize,
    ) -> io::Result<Self> {
        let cpus = kernel.possible_cpus().last().map_or(0, |last| last as usize + 1);
        let history = Arc::new(History::new(history_bytes, cpus));
        let counters = Arc::new(Counters::default());
        let started =
            reader::start(kernel, config, Arc::clone(&history), Arc::clone(&counters))?;
        Ok(Self {
            reader: started.handle,
            thread: Mutex::new(Some(started.thread)),
            history,
            counters,
            newest: started.newest,
        })
    }

    /// Begins to watch. When this returns, the kernel reports the exits of the selection's CPUs.
    ///
    /// # Errors
    /// When the kernel refuses, [`Exits::stop`] was called, or the start lies in the future.
    pub async fn watch(
        &self,
        selection: Selection,
        options: WatchOptions,
    ) -> Result<Watcher, WatchError> {
        let cpus = selection.cpus().clone();
        let interest = self.reader.watch(cpus).await.ok_or(WatchError::Ended)??;
        let mut newest = self.newest.clone();
        newest.mark_unchanged();
        let shared = Shared {
            history: Arc::clone(&self.history),
            counters: Arc::clone(&self.counters),
            newest,
            _interest: interest,
        };
        Ok(Watcher::new(shared, selection, options)?)
    }

    /// The CPUs that are listened to.
    #[must_use]
    pub fn watched_cpus(&self) -> Cpumask {
        self.reader.watched()
    }

    /// What was counted since the start.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// What is remembered.
    #[must_use]
    pub fn history(&self) -> HistoryReport {
        self.history.report()
    }

    /// Has the reader take what is there, leave the kernel's lists and end; waits for it. Watchers
    /// are then told the rest, and that it was the last.
    pub fn stop(&self) {
        self.reader.stop();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the exit reader panicked");
        }
    }
}

impl Drop for Exits {
    /// Leaves no registration behind.
    fn drop(&mut self) {
        self.stop();
    }
}
