//! One stream of exits.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};

use super::counters::Counters;
use super::history::{History, KernelLoss, Position, Reading};
use super::intake::wall_clock;
use super::reader::Interest;
use super::selection::Selection;

/// A watcher that heard nothing for so long is told that it missed nothing.
const HEARTBEAT: Duration = Duration::from_secs(10);

/// Reads the history at its own pace. Dropping it ends its interest in its CPUs.
#[derive(Debug)]
pub struct Watcher {
    history: Arc<History>,
    counters: Arc<Counters>,
    selection: Selection,
    position: Position,
    max_batch_delay: Duration,
    newest: watch::Receiver<u64>,
    /// When it last told something.
    told_at: Instant,
    /// Exits whose loss was told, by stage.
    lost: [u64; Stage::COUNT],
    /// Kernel losses of an evicted range, to be told after the range's own.
    pending: Option<Span>,
    _interest: Interest,
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
    /// How many.
    pub count: u64,
    /// They exited after this moment, since 1970,
    pub first_at: Duration,
    /// and before this one.
    pub last_at: Duration,
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
}

impl Stage {
    /// Number of stages.
    const COUNT: usize = 2;
}

impl Watcher {
    pub(super) fn new(
        history: Arc<History>,
        counters: Arc<Counters>,
        newest: watch::Receiver<u64>,
        selection: Selection,
        max_batch_delay: Duration,
        interest: Interest,
    ) -> Self {
        Self {
            position: history.end(&selection, wall_clock()),
            history,
            counters,
            selection,
            max_batch_delay,
            newest,
            told_at: Instant::now(),
            lost: [0; Stage::COUNT],
            pending: None,
            _interest: interest,
        }
    }

    /// The sequence of the last exit before the watcher's place.
    #[must_use]
    pub fn cursor(&self) -> u64 {
        self.position.cursor()
    }

    /// Waits for the next thing to tell. Nothing is lost when the wait is given up.
    pub async fn next(&mut self) -> Told {
        loop {
            if let Some(told) = self.read() {
                self.told_at = Instant::now();
                return told;
            }
            tokio::select! {
                changed = self.newest.changed() => match changed {
                    Ok(()) if self.max_batch_delay.is_zero() => {}
                    Ok(()) => sleep(self.max_batch_delay).await,
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

    fn read(&mut self) -> Option<Told> {
        if let Some(span) = self.pending.take() {
            return Some(self.tell_lost(Stage::KernelSocket, None, span));
        }
        match self.history.read(&mut self.position, &self.selection) {
            Reading::Nothing => None,
            Reading::Exits { slices, count } => {
                self.counters.delivered.add(count);
                Some(Told::Exits { slices, cursor: self.cursor() })
            }
            Reading::Lost(KernelLoss { cpu, count, first_at, last_at }) => {
                let span = Span { count, first_at, last_at };
                Some(self.tell_lost(Stage::KernelSocket, Some(cpu), span))
            }
            Reading::Evicted { missed, first_at, last_at } => {
                let loss = |count| Span { count, first_at, last_at };
                if missed.exits == 0 {
                    return Some(self.tell_lost(Stage::KernelSocket, None, loss(missed.lost)));
                }
                self.counters.lost_in_history.add(missed.exits);
                self.pending = (missed.lost > 0).then(|| loss(missed.lost));
                Some(self.tell_lost(Stage::History, None, loss(missed.exits)))
            }
        }
    }

    fn tell_lost(&mut self, stage: Stage, cpu: Option<u32>, span: Span) -> Told {
        let Span { count, first_at, last_at } = span;
        let total = &mut self.lost[stage as usize];
        *total += count;
        let (total, cursor) = (*total, self.cursor());
        Told::Lost(Loss { stage, cpu, count, first_at, last_at, total, cursor })
    }
}

/// Exits of an interval.
#[derive(Clone, Copy, Debug)]
struct Span {
    count: u64,
    first_at: Duration,
    last_at: Duration,
}
