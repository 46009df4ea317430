//! How many exits there were, by CPU and fate: what makes a loss an exact number.

use super::selection::{Fate, Selection};

/// Exits and kernel losses up to some place, by CPU.
#[derive(Clone, Debug)]
pub(super) struct Totals {
    by_cpu: Vec<CpuTotals>,
}

#[derive(Clone, Copy, Debug, Default)]
struct CpuTotals {
    exits: [u64; Fate::COUNT],
    lost: u64,
}

/// What a selection takes of a range: exits, and messages that the kernel dropped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Selected {
    pub(super) exits: u64,
    pub(super) lost: u64,
}

impl Selected {
    /// What lies between an earlier place and this one.
    pub(super) fn since(self, earlier: Self) -> Self {
        Self {
            exits: self.exits.saturating_sub(earlier.exits),
            lost: self.lost.saturating_sub(earlier.lost),
        }
    }
}

impl Totals {
    /// Room for `cpus` CPUs; others are not counted.
    pub(super) fn new(cpus: usize) -> Self {
        Self { by_cpu: vec![CpuTotals::default(); cpus] }
    }

    pub(super) fn add_exit(&mut self, cpu: u32, fate: Fate) {
        if let Some(totals) = self.by_cpu.get_mut(cpu as usize) {
            totals.exits[fate as usize] += 1;
        }
    }

    pub(super) fn add_lost(&mut self, cpu: u32, count: u64) {
        if let Some(totals) = self.by_cpu.get_mut(cpu as usize) {
            totals.lost += count;
        }
    }

    /// What `selection` takes of all that was added.
    pub(super) fn selected(&self, selection: &Selection) -> Selected {
        let fates = [Fate::ProcessEnded, Fate::ProcessLives, Fate::Unknown];
        let taken = fates.map(|fate| selection.scope().takes(fate));
        let mut sum = Selected::default();
        for totals in selection.cpus().iter().filter_map(|cpu| self.by_cpu.get(cpu as usize)) {
            let exits = totals.exits.iter().zip(taken).filter(|(_, taken)| *taken);
            sum.exits += exits.map(|(count, _)| count).sum::<u64>();
            sum.lost += totals.lost;
        }
        sum
    }
}
