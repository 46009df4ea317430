//! From exit messages to streams.
//!
//! A thread receives exits from the kernel, encodes each once and appends it to the history. Watchers
//! read the history, each at its own pace; none can hold up the reader or another watcher.
//!
//! # Threads, and why no interleaving loses anything
//!
//! One thread writes, the reader's. It shares four things with watchers: the history and the waker,
//! each behind a `Mutex`, the queue of commands (`mpsc`), and the newest sequence (`watch`). No code
//! here relies on the ordering of an atomic (`Counters` only count), so a model checker would explore
//! the standard library and tokio; what is left to get right is the order of a few steps, and each
//! order below stands in one function. None of these locks is held while another is taken, nor across an `await`,
//! and the reader waits for no watcher: there is no deadlock to look for.
//!
//! **A command is executed.** `ReaderHandle::send` queues it, and only then looks for the waker. The
//! reader sets the waker before it waits with a listener, and after each wait, and after each rest
//! without one, executes commands until there are none (`ExitReader::step`). A sender that finds
//! - the waker of the listener that waits: ends that wait or the next one, and the command is there;
//! - no waker, or that of a listener that has gone: queued its command before the reader set the one
//!   it waits with next, because both hold the waker's lock, so it is among those taken before that
//!   wait. A rest is ended by the queue itself.
//!
//! This is the one place where a step too few is a hang that no other event ends;
//! `reader/tests.rs` holds a sender right there.
//!
//! **A claim is counted once.** A `Claim` is made by the reader right after it has counted it, and is
//! no `Clone`; dropping it, in whichever thread, queues the one command that counts it down, which
//! the reader can only find later in the queue. When the caller has gone, the channel of the answer
//! drops it. When the reader ends, it drops the queue, and with it the answers that are waited for:
//! their callers learn that it has ended.
//!
//! **An exit is delivered.** The reader appends first and announces after. A watcher reads first and waits
//! after, and each `changed()` marks as seen what was announced before the read that follows it. So
//! what is appended after a read found nothing is announced after what the watcher has seen, and its
//! next `changed()` is ready at once. A drain that does not announce is followed by another one,
//! because the pacer then asks for a sleep and not for a wait (`Pacer::after_drain`), or by the
//! reader's end, which announces. The end itself is the drop of the sender, after the last append; a
//! watcher that learns of it reads until there is nothing, and only then says so (`Watcher::next`).
//!
//! **Evicted exits are reported as lost, exactly.** A read cursor counts what its selection includes of
//! all before it. `History::snapshot` compares it with the oldest item and, if that is later, reads
//! the count, the new position and what follows from the same state, in one lock. Items that it gave
//! out are `Arc`s, which an eviction does not change; what is read from them is added to the cursor
//! that the next snapshot compares.
//!
//! **Nothing is lost between registration and start.** `Exits::watch` waits for the claim, whose reply
//! comes after the kernel's acknowledgement, then marks announcements as seen, then finds its place:
//! what is appended between these steps is before the place, or read from it.

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
pub(crate) use reader::Claim;
pub use reader::ReaderConfig;
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
    /// The watcher wants to begin after an exit that has not happened.
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
