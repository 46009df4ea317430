//! A reader's place in the history.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;

use super::item::{Item, KernelLoss};
use super::selection::Selection;
use super::sequence::FIRST_SEQUENCE;
use super::totals::Selected;

/// Exits in one batch for a reader, but for the first chunk, which may be larger. Larger batches are
/// slower to decode, smaller ones cost more frames.
const BATCH_EVENTS: u64 = 256;

/// Where a reader is. It belongs to one selection.
#[derive(Clone, Copy, Debug)]
pub(in crate::exits) struct Position {
    /// The sequence that it wants next.
    pub(super) next: u64,
    /// What its selection takes of all before that.
    pub(super) passed: Selected,
    /// When the newest exit before that was received, since 1970.
    pub(super) at: Duration,
}

/// What a reader finds at its position.
#[derive(Debug)]
pub(in crate::exits) enum Reading {
    /// Encoded exits: entries of `ExitEvents.events`.
    Exits { slices: Vec<Bytes>, count: u64 },
    /// The kernel dropped exits here.
    Lost(KernelLoss),
    /// Nobody listened before this moment, since 1970.
    Unwatched { until: Duration },
    /// What stood here was evicted: so many exits, or an unknown number.
    Evicted { count: Option<u64>, first_at: Duration, last_at: Duration },
    /// The end.
    Nothing,
}

impl Position {
    /// The sequence of the last exit before the position.
    pub(in crate::exits) fn cursor(&self) -> u64 {
        self.next - FIRST_SEQUENCE
    }

    /// Takes a batch of exits, or a loss, from the front of `items` and moves behind it; `None` when
    /// the selection takes nothing of them.
    pub(super) fn take(&mut self, items: &[Item], selection: &Selection) -> Option<Reading> {
        let mut slices = Vec::new();
        let mut count = 0;
        for item in items {
            match item {
                Item::Exits(chunk) if count > 0 && count + chunk.len() > BATCH_EVENTS => break,
                Item::Exits(chunk) => {
                    count += chunk.select(self.next, selection, &mut slices);
                    self.at = chunk.received_at();
                }
                Item::Lost { loss, .. } if selection.cpus().contains(loss.cpu) => {
                    if count > 0 {
                        break;
                    }
                    return Some(self.take_lost(item.next(), *loss));
                }
                Item::Unwatched { cpus, until, .. } if cpus.intersects(selection.cpus()) => {
                    if count > 0 {
                        break;
                    }
                    self.next = item.next();
                    self.at = *until;
                    return Some(Reading::Unwatched { until: *until });
                }
                Item::Lost { .. } | Item::Unwatched { .. } => {}
            }
            self.next = item.next();
        }
        self.passed.exits += count;
        (count > 0).then_some(Reading::Exits { slices, count })
    }

    /// Moves forward to the exit with sequence `next`, counting what the selection takes on the way.
    pub(super) fn pass(&mut self, items: &VecDeque<Item>, next: u64, selection: &Selection) {
        for item in items.iter().take_while(|item| item.first() < next) {
            match item {
                Item::Exits(chunk) => self.passed.exits += chunk.count_before(next, selection),
                Item::Lost { first, loss } if selection.cpus().contains(loss.cpu) => {
                    self.passed.lost += loss.count.min(next - first);
                }
                Item::Lost { .. } | Item::Unwatched { .. } => {}
            }
            self.at = item.last_at();
        }
        self.next = next;
    }

    /// Moves behind a loss. A position inside it is told of the rest.
    fn take_lost(&mut self, next: u64, loss: KernelLoss) -> Reading {
        let count = next - self.next;
        self.next = next;
        self.passed.lost += count;
        self.at = loss.last_at;
        Reading::Lost(KernelLoss { count, ..loss })
    }
}
