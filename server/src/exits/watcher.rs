//! One stream of exits.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};

use super::counters::Counters;
use super::history::{
    CgroupCounts, FutureSequence, History, KernelLoss, MissedRange, ReadCursor, ReadOutcome,
    Selection, Start,
};
use super::loss_log;
use super::reader::Claim;
use crate::clock::unix_time;
use crate::workload::{Cgroup, CgroupTable};

/// Interval of heartbeats, which show that the stream is complete while nothing exits.
const HEARTBEAT: Duration = Duration::from_secs(10);
/// The cursor before the first exit of a run.
const BEFORE_FIRST: u64 = 0;

/// Reads the history at its own pace. Dropping it ends its interest in its CPUs.
#[derive(Debug)]
pub struct Watcher {
    context: WatcherContext,
    selection: Selection,
    cursor: ReadCursor,
    max_batch_delay: Duration,
    on_lag: OnLag,
    /// True if the last event was there without waiting.
    is_behind: bool,
    /// When the watcher last returned an event.
    last_event_at: Instant,
    /// Lost exits that were reported, by stage.
    lost: [u64; LossStage::COUNT],
    /// Losses before the start, which are reported first. There are two only after a restart, and then
    /// they begin with the run.
    pending: VecDeque<LostRange>,
}

/// The state that a watcher shares with the reader.
#[derive(Debug)]
pub(super) struct WatcherContext {
    pub(super) history: Arc<History>,
    pub(super) counters: Arc<Counters>,
    /// The sequence after the newest exit that was announced to watchers.
    pub(super) newest: watch::Receiver<u64>,
    pub(super) _claim: Claim,
}

/// The options of a watcher.
#[derive(Clone, Copy, Debug, Default)]
pub struct WatchOptions {
    /// The start of the stream.
    pub(crate) start: Start,
    /// True if `start` is a sequence of an earlier run, so that exits between the runs are unknown.
    pub(crate) other_run: bool,
    /// The longest time that an exit is held back to send more exits in one message.
    pub(crate) max_batch_delay: Duration,
    /// The behaviour when the watcher is too slow.
    pub(crate) on_lag: OnLag,
}

/// The behaviour of a watcher when exits were evicted before it read them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum OnLag {
    /// Reports the loss and continues.
    #[default]
    Skip,
    /// Ends the stream.
    Close,
}

/// An event of a watcher. Every cursor is the sequence of the last exit that the stream covers.
#[derive(Debug)]
pub(crate) enum WatchEvent {
    /// Exits: encoded entries of `ExitEvents.events`.
    Exits {
        /// The entries, in order.
        slices: Vec<Bytes>,
        /// The cursor after them.
        cursor: u64,
        /// The cgroups of these exits, and perhaps more.
        cgroups: Vec<Arc<Cgroup>>,
    },
    /// Exits that are lost.
    Lost(Loss),
    /// No exit for a while.
    Heartbeat {
        /// The cursor up to which the stream is complete.
        cursor: u64,
    },
    /// The watcher was too slow, and [`OnLag::Close`] ends it.
    Lagged {
        /// The cursor up to which the stream is complete.
        cursor: u64,
    },
    /// The end: the reader has ended.
    Ended {
        /// The cursor up to which the stream is complete.
        cursor: u64,
    },
}

/// Lost exits.
#[derive(Clone, Debug)]
pub(crate) struct Loss {
    /// The stage at which they were lost.
    pub(crate) stage: LossStage,
    /// The CPU, if all of them exited on one.
    pub(crate) cpu: Option<u32>,
    /// The number of exits; `None` if it is unknown.
    pub(crate) count: Option<u64>,
    /// A time before all of them, since 1970, if it is known.
    pub(crate) first_at: Option<Duration>,
    /// A time after all of them, since 1970, if it is known.
    pub(crate) last_at: Option<Duration>,
    /// The number of losses reported to this watcher for this stage, including these.
    pub(crate) total: u64,
    /// The cursor after them.
    pub(crate) cursor: u64,
    /// The losses whose cgroups are known.
    pub(crate) by_cgroup: CgroupCounts,
}

/// A stage at which an exit can be lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum LossStage {
    /// At the agent's socket, which was full.
    KernelSocket,
    /// In the history, which evicted it before the watcher read it.
    #[default]
    History,
    /// Between two runs of the agent.
    AgentRestart,
}

impl LossStage {
    /// Number of stages.
    const COUNT: usize = 3;
}

/// A loss that a watcher has to report.
#[derive(Clone, Debug, Default)]
struct LostRange {
    stage: LossStage,
    cpu: Option<u32>,
    count: Option<u64>,
    first_at: Option<Duration>,
    last_at: Option<Duration>,
    by_cgroup: CgroupCounts,
}

impl Watcher {
    /// Begins where the options say.
    pub(super) fn new(
        context: WatcherContext,
        selection: Selection,
        options: WatchOptions,
    ) -> Result<Self, FutureSequence> {
        let begin = context.history.begin(options.start, &selection, unix_time())?;
        let between_runs = options.other_run.then_some(LostRange::between_runs());
        let evicted = begin.missed.map(LostRange::before_start);
        if let Some(count) = evicted.as_ref().and_then(|span| span.count) {
            context.counters.lost_in_history.add(count);
        }
        Ok(Self {
            context,
            selection,
            cursor: begin.cursor,
            max_batch_delay: options.max_batch_delay,
            on_lag: options.on_lag,
            is_behind: true,
            last_event_at: Instant::now(),
            lost: [0; LossStage::COUNT],
            pending: between_runs.into_iter().chain(evicted).collect(),
        })
    }

    /// Returns the sequence of the last exit before the watcher's position.
    #[must_use]
    pub(crate) fn cursor(&self) -> u64 {
        self.cursor.cursor()
    }

    /// The cgroups that exits refer to.
    #[must_use]
    pub(crate) fn cgroups(&self) -> &CgroupTable {
        self.context.history.cgroups()
    }

    /// Returns true if the watcher has to report a loss before its cursor is reached.
    #[must_use]
    pub(crate) fn begins_with_loss(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Returns whether the next event may be there without waiting: the watcher has just begun, or
    /// did not have to wait for the last one.
    #[must_use]
    pub(crate) fn is_behind(&self) -> bool {
        self.is_behind
    }

    /// Waits for the next event. Cancelling the wait loses nothing.
    pub(crate) async fn next(&mut self) -> WatchEvent {
        self.is_behind = true;
        loop {
            if let Some(event) = self.read() {
                self.last_event_at = Instant::now();
                return event;
            }
            self.is_behind = false;
            tokio::select! {
                changed = self.context.newest.changed() => match changed {
                    Ok(()) if self.max_batch_delay.is_zero() => {}
                    Ok(()) => self.hold_back().await,
                    // What the reader appended last may have come after the read above.
                    Err(_) => return self.read().unwrap_or(WatchEvent::Ended { cursor: self.cursor() }),
                },
                () = sleep_until(self.last_event_at + HEARTBEAT) => {
                    self.last_event_at = Instant::now();
                    return WatchEvent::Heartbeat { cursor: self.cursor() };
                }
            }
        }
    }

    /// Lets exits gather, but not beyond the reader's end.
    async fn hold_back(&mut self) {
        let mut newest = self.context.newest.clone();
        let ended = async { while newest.changed().await.is_ok() {} };
        tokio::select! {
            () = sleep(self.max_batch_delay) => {}
            () = ended => {}
        }
    }

    fn read(&mut self) -> Option<WatchEvent> {
        if let Some(span) = self.pending.pop_front() {
            // A client whose stream breaks between two losses must receive the second one again.
            let cursor = if self.pending.is_empty() { self.cursor() } else { BEFORE_FIRST };
            return Some(self.lost(span, cursor));
        }
        let before = self.cursor();
        match self.context.history.read(&mut self.cursor, &self.selection) {
            ReadOutcome::Nothing => None,
            ReadOutcome::Exits { slices, count, cgroups } => {
                self.context.counters.delivered.add(count);
                Some(WatchEvent::Exits { slices, cursor: self.cursor(), cgroups })
            }
            ReadOutcome::Lost(loss) => Some(self.lost(loss.into(), self.cursor())),
            ReadOutcome::Unwatched { until } => {
                Some(self.lost(LostRange::unknown_before(until), self.cursor()))
            }
            ReadOutcome::Evicted { count, first_at, last_at } => {
                let total = self.context.counters.lost_in_history.get() + count.unwrap_or(0);
                loss_log::watcher_overtaken(count, total);
                if self.on_lag == OnLag::Close {
                    return Some(WatchEvent::Lagged { cursor: before });
                }
                self.context.counters.lost_in_history.add(count.unwrap_or(0));
                // Kernel losses in the range were evicted with it, so the count includes them.
                let range = LostRange {
                    stage: LossStage::History,
                    cpu: None,
                    count,
                    first_at: Some(first_at),
                    last_at: Some(last_at),
                    ..LostRange::default()
                };
                Some(self.lost(range, self.cursor()))
            }
        }
    }

    fn lost(&mut self, span: LostRange, cursor: u64) -> WatchEvent {
        let LostRange { stage, cpu, count, first_at, last_at, by_cgroup } = span;
        let total = &mut self.lost[stage as usize];
        *total += count.unwrap_or(0);
        let total = *total;
        WatchEvent::Lost(Loss { stage, cpu, count, first_at, last_at, total, cursor, by_cgroup })
    }
}

impl LostRange {
    /// Returns the unknown loss between two runs.
    fn between_runs() -> Self {
        Self { stage: LossStage::AgentRestart, ..Self::default() }
    }

    /// Returns the unknown loss of a time without a listener, after the watcher's cursor.
    fn unknown_before(until: Duration) -> Self {
        Self { stage: LossStage::History, last_at: Some(until), ..Self::default() }
    }

    /// Returns the loss of exits that were evicted before the watcher began.
    fn before_start(missed: MissedRange) -> Self {
        Self {
            stage: LossStage::History,
            count: missed.count,
            last_at: Some(missed.last_at),
            ..Self::default()
        }
    }
}

impl From<KernelLoss> for LostRange {
    fn from(loss: KernelLoss) -> Self {
        Self {
            stage: LossStage::KernelSocket,
            cpu: Some(loss.cpu),
            count: Some(loss.count),
            first_at: Some(loss.first_at),
            last_at: Some(loss.last_at),
            by_cgroup: loss.by_cgroup,
        }
    }
}
