//! The path from exit messages to streams.
//!
//! One thread, the reader, receives exits from the kernel, encodes each exit once and appends it to
//! the history. Each watcher reads the history at its own pace. A watcher cannot delay the reader or
//! another watcher.
//!
//! # Concurrency
//!
//! The reader shares four objects with the watchers: the history and the waker, each behind a
//! `Mutex`; the queue of commands (`mpsc`); and the newest sequence (`watch`). No code here depends on
//! the ordering of atomics: `Counters` only count. No lock is held while another is acquired or across
//! an `await`, and the reader never waits for a watcher, so there is no deadlock. The following
//! invariants remain. One function keeps each of them.
//!
//! **Every command is executed.** `ReaderHandle::send` first queues the command and then looks up the
//! waker. The reader first stores the waker, then executes commands until the queue is empty, and then
//! waits (`ExitReader::step`); it repeats this after each wait. A sender finds one of two states:
//! - The waker of the current listener. The wake-up ends this wait or the next one, and the command is
//!   in the queue.
//! - No waker, or that of a closed listener. The command was then queued before the reader stored its
//!   next waker, because both hold the waker's lock, and the reader executes it before it waits.
//!
//! A reader without a listener waits for the queue itself. An error in this order is a hang that no
//! other event ends; `reader/tests.rs` stops a sender between the two steps.
//!
//! **Every claim is released once.** The reader makes a `Claim` directly after it has counted it. A
//! `Claim` is not `Clone`. Its drop, in any thread, queues the command that decrements the count. If
//! the caller is gone, the channel of the reply drops the claim. If the reader ends, it drops the
//! queue and the pending replies, and their callers get an error.
//!
//! **Every exit is delivered.** The reader appends before it announces. A watcher reads before it
//! waits, and `changed()` marks the announcements before that read as seen. What is appended after an
//! empty read is therefore announced after it, and the next `changed()` returns at once. A drain
//! without an announcement is followed by another drain, because the pacer sleeps instead of waiting
//! (`Pacer::after_drain`), or by the end of the reader, which announces. The reader ends by dropping
//! the sender after its last append; a watcher then reads the rest of the history and ends
//! (`Watcher::next`).
//!
//! **Evicted exits are counted exactly.** A read cursor counts the exits of its selection that precede
//! it. `History::snapshot` compares the cursor with the oldest item. If exits between them were
//! evicted, it reads their count, the new position and the next items under one lock. Items are
//! `Arc`s, so an eviction does not change those that were returned.
//!
//! **No exit is missed between registration and start.** `Exits::watch` waits for the claim, which the
//! reader grants after the kernel has acknowledged the registration. It then marks announcements as
//! seen, and then determines its start position. What is appended between these steps precedes the
//! position or is read from it.

mod counters;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod history;
mod loss_log;
mod reader;
mod watcher;

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::watch;

pub(crate) use counters::Counters;
pub(crate) use history::{
    CgroupCounts, FutureSequence, History, HistoryReport, HistorySnapshot, InvalidSnapshot,
    ItemSnapshot, Start,
};
pub use history::{Scope, Selection};
pub use reader::ReaderConfig;
pub(crate) use reader::{Claim, PROCESS_ENDS_BYTES};
pub use watcher::WatchOptions;
pub(crate) use watcher::{Loss, LossStage, OnLag, WatchEvent, Watcher};

use self::reader::{InheritedListener, ReaderHandle, SocketDisposition};
use self::watcher::WatcherContext;
use crate::advice::{Cause, HasCause};
use crate::clock::unix_time;
use crate::taskstats::{Cpumask, KeptSocket, Kernel, KernelError};
use crate::workload::CgroupTable;

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

/// The state that a run hands over to its successor.
#[derive(Debug)]
pub(crate) struct Handoff {
    /// Sockets that listen on.
    pub(crate) sockets: Vec<KeptSocket>,
    /// The history.
    pub(crate) history: HistorySnapshot,
    /// When the sockets were last read, since 1970.
    pub(crate) read_at: Duration,
}

/// An error when exits start to be served.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The reader's thread did not start.
    #[error("starting the exit reader failed: {0}")]
    Thread(#[from] io::Error),
    /// An earlier run's history cannot be taken up.
    #[error(transparent)]
    History(#[from] InvalidSnapshot),
    /// An earlier run's sockets cannot be taken up.
    #[error("{}", .0.advised())]
    Sockets(#[from] KernelError),
}

/// An error when a watcher begins.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    /// The kernel refused to report exits.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// The cursor of the watcher is after an exit that has not happened.
    #[error(transparent)]
    Future(#[from] FutureSequence),
    /// The reader has ended.
    #[error("the exit reader has ended")]
    Ended,
}

impl HasCause for WatchError {
    fn cause(&self) -> Option<Cause> {
        match self {
            Self::Kernel(error) => error.cause(),
            Self::Future(_) | Self::Ended => None,
        }
    }
}

impl Exits {
    /// Starts to serve exits. The agent registers with the kernel when the first watcher begins.
    ///
    /// # Errors
    /// When the system starts no thread.
    pub fn start(
        kernel: Arc<dyn Kernel>,
        config: ReaderConfig,
        history_bytes: usize,
        cgroups: Arc<CgroupTable>,
    ) -> Result<Self, StartError> {
        let history = History::new(history_bytes, cpu_numbers(&*kernel), cgroups);
        Self::start_with(kernel, config, history, None)
    }

    /// Continues where an earlier run stopped with [`Exits::stop_and_hand_off`].
    ///
    /// # Errors
    /// When what it kept is damaged, or the system starts no thread.
    pub(crate) fn resume(
        kernel: Arc<dyn Kernel>,
        config: ReaderConfig,
        history_bytes: usize,
        kept: Handoff,
        cgroups: Arc<CgroupTable>,
    ) -> Result<Self, StartError> {
        let numbers = cpu_numbers(&*kernel);
        let history = History::restore(kept.history, history_bytes, numbers, cgroups)?;
        let cpus = kept.sockets.iter().map(|socket| socket.cpu).collect();
        let listener = kernel.adopt(kept.sockets)?;
        let inherited = InheritedListener { listener, cpus, read_at: kept.read_at };
        Self::start_with(kernel, config, history, Some(inherited))
    }

    fn start_with(
        kernel: Arc<dyn Kernel>,
        config: ReaderConfig,
        history: History,
        inherited: Option<InheritedListener>,
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
        let context = WatcherContext {
            history: Arc::clone(&self.history),
            counters: Arc::clone(&self.counters),
            newest,
            _claim: claim,
        };
        Ok(Watcher::new(context, selection, options)?)
    }

    /// Has CPUs listened to as long as the claim is held.
    ///
    /// # Errors
    /// When the kernel refuses, or [`Exits::stop`] was called.
    pub(crate) async fn claim(&self, cpus: Cpumask) -> Result<Claim, WatchError> {
        Ok(self.reader.watch(cpus).await.ok_or(WatchError::Ended)??)
    }

    /// Waits for the reader's end, whatever its cause.
    pub(crate) async fn ended(&self) {
        let mut newest = self.newest.clone();
        while newest.changed().await.is_ok() {}
    }

    /// Returns the CPUs that are listened to.
    #[must_use]
    pub(crate) fn watched_cpus(&self) -> Cpumask {
        self.reader.watched()
    }

    /// Returns the counters since the start.
    #[must_use]
    pub(crate) fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Returns the state of the history.
    #[must_use]
    pub(crate) fn history(&self) -> HistoryReport {
        self.history.report()
    }

    /// Has the reader take what is there, leave the kernel's lists and end; waits for it. Watchers
    /// then receive the rest, and the end of the stream.
    pub fn stop(&self) {
        self.end(SocketDisposition::Close);
    }

    /// Ends as [`Exits::stop`] does, but for the sockets, which go on listening: a successor finds in
    /// them what exits meanwhile.
    #[must_use]
    pub(crate) fn stop_and_hand_off(&self) -> Handoff {
        let sockets = self.end(SocketDisposition::Keep);
        Handoff { sockets, history: self.history.snapshot(), read_at: unix_time() }
    }

    fn end(&self, disposition: SocketDisposition) -> Vec<KeptSocket> {
        self.reader.stop(disposition);
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
    /// Returns exits whose reader runs step by step, on clocks of the test.
    fn stepped(
        kernel: Arc<dyn Kernel>,
        config: ReaderConfig,
        history_bytes: usize,
        clocks: reader::Clocks,
        inherited: Option<InheritedListener>,
    ) -> (Self, reader::ExitReader) {
        let numbers = cpu_numbers(&*kernel);
        let history = Arc::new(History::new(history_bytes, numbers, Arc::default()));
        let counters = Arc::new(Counters::default());
        let (shared, counted) = (Arc::clone(&history), Arc::clone(&counters));
        let (reader, newest) = reader::prepare(kernel, config, shared, counted, inherited, clocks);
        let thread = Mutex::new(None);
        (Self { reader: reader.handle(), thread, history, counters, newest }, reader)
    }
}

#[cfg(test)]
#[cfg(feature = "sim")]
mod tests;

/// The number that is enough for a table of CPUs.
fn cpu_numbers(kernel: &dyn Kernel) -> usize {
    kernel.possible_cpus().last().map_or(0, |last| last as usize + 1)
}
