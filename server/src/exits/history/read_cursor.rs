//! The position of a reader in the history.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::item::{CgroupCounts, HistoryItem, KernelLoss};
use super::selection::Selection;
use super::sequence::FIRST_SEQUENCE;
use super::totals::Selected;
use crate::workload::Cgroup;

/// Exits in one batch for a reader, but for the first chunk, which may be larger. Larger batches are
/// slower to decode, smaller ones cost more frames.
const BATCH_EVENTS: u64 = 256;

/// The position of a watcher, for one selection.
#[derive(Clone, Copy, Debug)]
pub(in crate::exits) struct ReadCursor {
    /// The sequence of the next exit to read.
    pub(super) next: u64,
    /// The number of exits before that which the selection includes.
    pub(super) selected_before: Selected,
    /// When the newest exit before that was received, since 1970.
    pub(super) at: Duration,
}

/// The result of reading at a cursor.
#[derive(Debug)]
pub(in crate::exits) enum ReadOutcome {
    /// Encoded exits: entries of `ExitEvents.events`.
    Exits { slices: Vec<Bytes>, count: u64, cgroups: Vec<Arc<Cgroup>> },
    /// The kernel dropped exits here.
    Lost(KernelLoss),
    /// No listener existed before this time, since 1970.
    Unwatched { until: Duration },
    /// Evicted exits: so many, or an unknown number.
    Evicted { count: Option<u64>, first_at: Duration, last_at: Duration },
    /// The end.
    Nothing,
}

impl ReadCursor {
    /// The sequence of the last exit before the cursor.
    pub(in crate::exits) fn cursor(&self) -> u64 {
        self.next - FIRST_SEQUENCE
    }

    /// Reads a batch of exits, or a loss, from the front of `items` and moves behind it; `None` when
    /// the selection includes nothing of them.
    pub(super) fn take(
        &mut self,
        items: &[HistoryItem],
        selection: &Selection,
    ) -> Option<ReadOutcome> {
        let mut slices = Vec::new();
        let mut count = 0;
        let mut cgroups = Vec::new();
        for item in items {
            match item {
                HistoryItem::Exits(chunk) if count > 0 && count + chunk.len() > BATCH_EVENTS => {
                    break;
                }
                HistoryItem::Exits(chunk) => {
                    let selected = chunk.select(self.next, selection, &mut slices);
                    if selected > 0 {
                        cgroups.extend_from_slice(chunk.cgroups());
                    }
                    count += selected;
                    self.at = chunk.received_at();
                }
                HistoryItem::Lost { loss, .. } if selection.cpus().contains(loss.cpu) => {
                    if count > 0 {
                        break;
                    }
                    return Some(self.take_lost(item.next(), loss));
                }
                HistoryItem::Unwatched { cpus, until, .. } if cpus.intersects(selection.cpus()) => {
                    if count > 0 {
                        break;
                    }
                    self.next = item.next();
                    self.at = *until;
                    return Some(ReadOutcome::Unwatched { until: *until });
                }
                HistoryItem::Lost { .. } | HistoryItem::Unwatched { .. } => {}
            }
            self.next = item.next();
        }
        self.selected_before.exits += count;
        (count > 0).then_some(ReadOutcome::Exits { slices, count, cgroups })
    }

    /// Moves forward to the exit with sequence `next`, counting what the selection includes on the way.
    pub(super) fn advance_to(
        &mut self,
        items: &VecDeque<HistoryItem>,
        next: u64,
        selection: &Selection,
    ) {
        for item in items.iter().take_while(|item| item.first() < next) {
            match item {
                HistoryItem::Exits(chunk) => {
                    self.selected_before.exits += chunk.count_before(next, selection);
                }
                HistoryItem::Lost { first, loss } if selection.cpus().contains(loss.cpu) => {
                    self.selected_before.lost += loss.count.min(next - first);
                }
                HistoryItem::Lost { .. } | HistoryItem::Unwatched { .. } => {}
            }
            self.at = item.last_at();
        }
        self.next = next;
    }

    /// Moves behind a loss. A cursor inside it reads the rest.
    fn take_lost(&mut self, next: u64, loss: &KernelLoss) -> ReadOutcome {
        let count = next - self.next;
        self.next = next;
        self.selected_before.lost += count;
        self.at = loss.last_at;
        let mut rest = KernelLoss { count, ..loss.clone() };
        if count != loss.count {
            // The cgroups of a part are not known.
            rest.by_cgroup = CgroupCounts::default();
        }
        ReadOutcome::Lost(rest)
    }
}
