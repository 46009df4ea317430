//! The numbers of recently evicted exits of each kind, so that a reader which resumes too late can
//! still receive an exact number.

use std::collections::VecDeque;

use super::selection::Selection;
use super::totals::{Selected, Tally};

/// Counts of evicted items, oldest first, up to a number of bytes.
#[derive(Debug)]
pub(super) struct EvictedCounts {
    counts: VecDeque<EvictedItem>,
    memory: usize,
    capacity: usize,
}

#[derive(Debug)]
struct EvictedItem {
    first: u64,
    tally: Tally,
}

impl EvictedItem {
    fn memory(&self) -> usize {
        size_of::<Self>() + self.tally.memory()
    }
}

impl EvictedCounts {
    pub(super) fn new(capacity: usize) -> Self {
        Self { counts: VecDeque::new(), memory: 0, capacity }
    }

    /// Memory held, in bytes.
    pub(super) fn memory(&self) -> usize {
        self.memory
    }

    /// Remembers what an item counted that took the sequences from `first` on.
    pub(super) fn push(&mut self, first: u64, tally: Tally) {
        let item = EvictedItem { first, tally };
        self.memory += item.memory();
        self.counts.push_back(item);
        while self.memory > self.capacity {
            let Some(oldest) = self.counts.pop_front() else { break };
            self.memory -= oldest.memory();
        }
    }

    /// Returns the number of selected exits with sequences from `from` to before `to`, lost ones
    /// included; `None` when that is forgotten, or `from` lies inside an item.
    pub(super) fn selected(&self, from: u64, to: u64, selection: &Selection) -> Option<u64> {
        let start = self.counts.partition_point(|item| item.first < from);
        let counts = self.counts.range(start..);
        if selection.everything() {
            return Some(to - from);
        }
        if counts.clone().next()?.first != from {
            return None;
        }
        let selected: Selected = counts.map(|it| it.tally.selected(selection)).sum();
        Some(selected.exits + selected.lost)
    }
}
