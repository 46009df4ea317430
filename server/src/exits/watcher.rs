//! One stream of exits.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};

use super::counters::Counters;
use super::history::{
    FutureSequence, History, KernelLoss, MissedStart, Position, Reading, Selection, Start,
};
use super::reader::Claim;
use crate::clocks::since_1970;

/// A watcher that heard nothing for so long is told that it missed nothing.
const HEARTBEAT: Duration = Duration::from_secs(10);
/// The place before the first exit of a run.
const BEFORE_FIRST: u64 = 0;

/// Reads the history at its own pace. Dropping it ends its interest in its CPUs.
#[derive(Debug)]
pub struct Watcher {
    shared: Shared,
    selection: Selection,
    position: Position,
    max_batch_delay: Duration,
    on_lag: OnLag,
    /// When it last told something.
    told_at: Instant,
    /// Exits whose loss was told, by stage.
    lost: [u64; Stage::COUNT],
    /// Losses before the watcher's place, to be told before anything else. Two only after a restart,
    /// and then they begin with the run.
    pending: VecDeque<Span>,
}

/// What a watcher shares with the reader.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) history: Arc<History>,
    pub(super) counters: Arc<Counters>,
    /// The sequence after the newest exit that watchers were told of.
    pub(super) newest: watch::Receiver<u64>,
    pub(super) _claim: Claim,
}

/// How a watcher watches.
#[derive(Clone, Copy, Debug, Default)]
pub struct WatchOptions {
    /// Where it begins.
    pub start: Start,
    /// Whether `start` is counted in this run; if not, what happened between the runs is unknown.
    pub other_run: bool,
    /// How long it may hold an exit back to tell more at once.
    pub max_batch_delay: Duration,
    /// What it does when it is too slow.
    pub on_lag: OnLag,
}

/// What a watcher does when exits were evicted before it told them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnLag {
    /// Tells the loss and goes on.
    #[default]
    Skip,
    /// Ends.
    Close,
}

/// What a watcher tells. Every cursor is the sequence of the last exit before the place.
#[derive(Debug)]
pub enum Told {
    /// Exits: encoded entries of `ExitEvents.events`.
    Exits {
        /// The entries, in order.
        slices: Vec<Bytes>,
        /// The place after them.
        cursor: u64,
    },
    /// Exits that are lost.
    Lost(Loss),
    /// Nothing for a while.
    Heartbeat {
        /// The place up to which the stream is complete.
        cursor: u64,
    },
    /// The watcher was too slow and wants to be ended.
    Lagged {
        /// The place up to which the stream is complete.
        cursor: u64,
    },
    /// Nothing more will come: the reader has ended.
    Ended {
        /// The place up to which the stream is complete.
        cursor: u64,
    },
}

/// Exits that cannot be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loss {
    /// Where they were lost.
    pub stage: Stage,
    /// The CPU, where it is one.
    pub cpu: Option<u32>,
    /// How many; `None` when it cannot be known.
    pub count: Option<u64>,
    /// They exited after this moment, since 1970, where it is known,
    pub first_at: Option<Duration>,
    /// and before this one.
    pub last_at: Option<Duration>,
    /// How many this watcher was told of for this stage, these included.
    pub total: u64,
    /// The place after them.
    pub cursor: u64,
}

/// Where an exit can be lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// At the agent's socket, which was full.
    KernelSocket,
    /// In the history, which forgot it before the watcher took it.
    History,
    /// Between two runs of the agent.
    AgentRestart,
}

impl Stage {
    /// Number of stages.
    const COUNT: usize = 3;
}

/// Exits of an interval that a watcher has to tell the loss of.
#[derive(Clone, Copy, Debug)]
struct Span {
    stage: Stage,
    cpu: Option<u32>,
    count: Option<u64>,
    first_at: Option<Duration>,
    last_at: Option<Duration>,
}

impl Watcher {
    /// Begins where the options say.
    pub(super) fn new(
        shared: Shared,
        selection: Selection,
        options: WatchOptions,
    ) -> Result<Self, FutureSequence> {
        let begin = shared.history.begin(options.start, &selection, since_1970())?;
        let between_runs = options.other_run.then_some(Span::between_runs());
        let evicted = begin.missed.map(Span::before_start);
        if let Some(count) = evicted.and_then(|span| span.count) {
            shared.counters.lost_in_history.add(count);
        }
        Ok(Self {
            shared,
            selection,
            position: begin.position,
            max_batch_delay: options.max_batch_delay,
            on_lag: options.on_lag,
            told_at: Instant::now(),
            lost: [0; Stage::COUNT],
            pending: between_runs.into_iter().chain(evicted).collect(),
        })
    }

    /// The sequence of the last exit before the watcher's place.
    #[must_use]
    pub fn cursor(&self) -> u64 {
        self.position.cursor()
    }

    /// Whether the watcher has to tell a loss before anything else, so that it is not yet at its
    /// place.
    #[must_use]
    pub fn begins_with_loss(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Waits for the next thing to tell. Nothing is lost when the wait is given up.
    pub async fn next(&mut self) -> Told {
        loop {
            if let Some(told) = self.read() {
                self.told_at = Instant::now();
                return told;
            }
            tokio::select! {
                changed = self.shared.newest.changed() => match changed {
                    Ok(()) if self.max_batch_delay.is_zero() => {}
                    Ok(()) => self.hold_back().await,
                    // What the reader appended last may have come after the read above.
                    Err(_) => return self.read().unwrap_or(Told::Ended { cursor: self.cursor() }),
                },
                () = sleep_until(self.told_at + HEARTBEAT) => {
                    self.told_at = Instant::now();
                    return Told::Heartbeat { cursor: self.cursor() };
                }
            }
        }
    }

    /// Lets exits gather, but not beyond the reader's end.
    async fn hold_back(&mut self) {
        let mut newest = self.shared.newest.clone();
        let ended = async { while newest.changed().await.is_ok() {} };
        tokio::select! {
            () = sleep(self.max_batch_delay) => {}
            () = ended => {}
        }
    }

    fn read(&mut self) -> Option<Told> {
        if let Some(span) = self.pending.pop_front() {
            // A stream that breaks between two losses must be told the second one again.
            let cursor = if self.pending.is_empty() { self.cursor() } else { BEFORE_FIRST };
            return Some(self.tell_lost(span, cursor));
        }
        let before = self.cursor();
        match self.shared.history.read(&mut self.position, &self.selection) {
            Reading::Nothing => None,
            Reading::Exits { slices, count } => {
                self.shared.counters.delivered.add(count);
                Some(Told::Exits { slices, cursor: self.cursor() })
            }
            Reading::Lost(loss) => Some(self.tell_lost(loss.into(), self.cursor())),
            Reading::Unwatched { until } => {
                Some(self.tell_lost(Span::unknown_before(until), self.cursor()))
            }
            Reading::Evicted { .. } if self.on_lag == OnLag::Close => {
                Some(Told::Lagged { cursor: before })
            }
            Reading::Evicted { count, first_at, last_at } => {
                self.shared.counters.lost_in_history.add(count.unwrap_or(0));
                // Kernel losses of the range were forgotten with it, and are told with it.
                let span = Span {
                    stage: Stage::History,
                    cpu: None,
                    count,
                    first_at: Some(first_at),
                    last_at: Some(last_at),
                };
                Some(self.tell_lost(span, self.cursor()))
            }
        }
    }

    fn tell_lost(&mut self, span: Span, cursor: u64) -> Told {
        let Span { stage, cpu, count, first_at, last_at } = span;
        let total = &mut self.lost[stage as usize];
        *total += count.unwrap_or(0);
        let total = *total;
        Told::Lost(Loss { stage, cpu, count, first_at, last_at, total, cursor })
    }
}

impl Span {
    /// What happened between two runs, of which nobody knows anything.
    fn between_runs() -> Self {
        Self { stage: Stage::AgentRestart, cpu: None, count: None, first_at: None, last_at: None }
    }

    /// What happened while nobody listened, after the watcher's cursor.
    fn unknown_before(until: Duration) -> Self {
        Self { stage: Stage::History, cpu: None, count: None, first_at: None, last_at: Some(until) }
    }

    /// What was evicted before the watcher came.
    fn before_start(missed: MissedStart) -> Self {
        Self {
            stage: Stage::History,
            cpu: None,
            count: missed.count,
            first_at: None,
            last_at: Some(missed.last_at),
        }
    }
}

impl From<KernelLoss> for Span {
    fn from(loss: KernelLoss) -> Self {
        Self {
            stage: Stage::KernelSocket,
            cpu: Some(loss.cpu),
            count: Some(loss.count),
            first_at: Some(loss.first_at),
            last_at: Some(loss.last_at),
        }
    }
}
