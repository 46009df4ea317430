//! From exit messages to streams.
//!
//! A thread takes exits from the kernel, encodes each once and appends it to the history. Watchers
//! read the history, each at its own pace; none can hold up the reader or another watcher.

mod chunk;
mod counters;
mod encode;
mod history;
mod intake;
mod item;
mod pacer;
mod position;
mod reader;
mod registry;
mod saved;
mod selection;
mod sequence;
mod tombstones;
mod totals;
mod watcher;

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::watch;

pub use counters::{Counter, Counters};
pub use encode::{encode_event, encode_pid_response};
pub use history::{FutureSequence, History, HistoryReport, Start};
pub use item::KernelLoss;
pub use reader::{Claim, ReaderConfig};
pub use saved::{DamagedHistory, SavedHistory, SavedItem, SavedTotals};
pub use selection::{Fate, Scope, Selection};
pub use watcher::{Loss, OnLag, Stage, Told, WatchOptions, Watcher};

use self::intake::wall_clock;
use self::reader::{Farewell, Inherited, ReaderHandle};
use self::watcher::Shared;
use crate::taskstats::{Cpumask, KeptSocket, Kernel, KernelError};

/// The exits of this machine, for any number of watchers.
#[derive(Debug)]
pub struct Exits {
    reader: ReaderHandle,
    /// Joined by [`Exits::stop`].
    thread: Mutex<Option<JoinHandle<Vec<KeptSocket>>>>,
    history: Arc<History>,
    counters: Arc<Counters>,
    newest: watch::Receiver<u64>,
}

/// What a run leaves to its successor.
#[derive(Debug)]
pub struct Kept {
    /// Sockets that listen on.
    pub sockets: Vec<KeptSocket>,
    /// What was remembered.
    pub history: SavedHistory,
    /// When the sockets were last read, since 1970.
    pub read_at: Duration,
}

/// Why exits cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The reader's thread did not start.
    #[error("starting the exit reader failed: {0}")]
    Thread(#[from] io::Error),
    /// An earlier run's history cannot be taken up.
    #[error(transparent)]
    History(#[from] DamagedHistory),
    /// An earlier run's sockets cannot be taken up.
    #[error(transparent)]
    Sockets(#[from] KernelError),
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
    ) -> Result<Self, StartError> {
        let history = History::new(history_bytes, cpu_numbers(&*kernel));
        Self::start_with(kernel, config, history, None)
    }

    /// Goes on where an earlier run stopped with [`Exits::stop_and_keep`].
    ///
    /// # Errors
    /// When what it kept is damaged, or the system starts no thread.
    pub fn resume(
        kernel: Arc<dyn Kernel>,
        config: ReaderConfig,
        history_bytes: usize,
        kept: Kept,
    ) -> Result<Self, StartError> {
        let history = History::restore(kept.history, history_bytes, cpu_numbers(&*kernel))?;
        let cpus = kept.sockets.iter().map(|socket| socket.cpu).collect();
        let listener = kernel.adopt(kept.sockets)?;
        let inherited = Inherited { listener, cpus, read_at: kept.read_at };
        Self::start_with(kernel, config, history, Some(inherited))
    }

    fn start_with(
        kernel: Arc<dyn Kernel>,
        config: ReaderConfig,
        history: History,
        inherited: Option<Inherited>,
    ) -> Result<Self, StartError> {
        let (history, counters) = (Arc::new(history), Arc::new(Counters::default()));
        let (shared, counted) = (Arc::clone(&history), Arc::clone(&counters));
        let started = reader::start(kernel, config, shared, counted, inherited)?;
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
        let claim = self.claim(cpus).await?;
        let mut newest = self.newest.clone();
        newest.mark_unchanged();
        let shared = Shared {
            history: Arc::clone(&self.history),
            counters: Arc::clone(&self.counters),
            newest,
            _claim: claim,
        };
        Ok(Watcher::new(shared, selection, options)?)
    }

    /// Has CPUs listened to as long as the claim is held.
    ///
    /// # Errors
    /// When the kernel refuses, or [`Exits::stop`] was called.
    pub async fn claim(&self, cpus: Cpumask) -> Result<Claim, WatchError> {
        Ok(self.reader.watch(cpus).await.ok_or(WatchError::Ended)??)
    }

    /// Waits for the reader's end, whatever its cause.
    pub async fn ended(&self) {
        let mut newest = self.newest.clone();
        while newest.changed().await.is_ok() {}
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
        self.end(Farewell::Close);
    }

    /// Ends as [`Exits::stop`] does, but for the sockets, which go on listening: a successor finds in
    /// them what exits meanwhile.
    #[must_use]
    pub fn stop_and_keep(&self) -> Kept {
        let sockets = self.end(Farewell::Keep);
        Kept { sockets, history: self.history.save(), read_at: wall_clock() }
    }

    fn end(&self, farewell: Farewell) -> Vec<KeptSocket> {
        self.reader.stop(farewell);
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        let joined = thread.map_or_else(|| Ok(Vec::new()), JoinHandle::join);
        joined.unwrap_or_else(|_| {
            tracing::error!("the exit reader panicked");
            Vec::new()
        })
    }
}

impl Drop for Exits {
    /// Leaves no registration behind.
    fn drop(&mut self) {
        self.stop();
    }
}

#[cfg(test)]
impl Exits {
    /// Makes exits whose reader takes a step when it is told to, on a clock of the test's own.
    fn stepped(
        kernel: Arc<dyn Kernel>,
        config: ReaderConfig,
        history_bytes: usize,
        now: fn() -> std::time::Instant,
    ) -> (Self, reader::Reader) {
        let history = Arc::new(History::new(history_bytes, cpu_numbers(&*kernel)));
        let counters = Arc::new(Counters::default());
        let (shared, counted) = (Arc::clone(&history), Arc::clone(&counters));
        let (reader, newest) = reader::prepare(kernel, config, shared, counted, None, now);
        let thread = Mutex::new(None);
        (Self { reader: reader.handle(), thread, history, counters, newest }, reader)
    }
}

#[cfg(test)]
mod tests;

/// The number that is enough for a table of CPUs.
fn cpu_numbers(kernel: &dyn Kernel) -> usize {
    kernel.possible_cpus().last().map_or(0, |last| last as usize + 1)
}
