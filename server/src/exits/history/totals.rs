//! How many exits there were, by CPU and kind: what makes a loss an exact number.

use super::selection::{ExitKind, Selection};
use super::snapshot::{InvalidSnapshot, TotalsSnapshot};
use crate::taskstats::Cpumask;

/// Exits and kernel losses of one CPU.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct CpuTotals {
    exits: [u64; ExitKind::COUNT],
    lost: u64,
    /// The last sequence that stands for a time without a listener; 0 for none.
    unwatched: u64,
}

/// Exits and kernel losses of a few CPUs: those of a chunk.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    by_cpu: Vec<(u32, CpuTotals)>,
}

/// Makes tallies. Between two of them, no CPU has an entry.
#[derive(Debug)]
pub(super) struct Tallier {
    /// For each CPU, where it stands in the tally that is made.
    entries: Vec<usize>,
}

/// A CPU that does not stand in the tally yet.
const NO_ENTRY: usize = usize::MAX;

/// Exits and kernel losses of all CPUs, up to some place.
#[derive(Clone, Debug)]
pub(super) struct Totals {
    by_cpu: Vec<CpuTotals>,
}

/// The counts of a selection: exits, and messages that the kernel dropped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Selected {
    pub(super) exits: u64,
    pub(super) lost: u64,
}

impl CpuTotals {
    fn add(&mut self, other: &Self) {
        for (sum, count) in self.exits.iter_mut().zip(other.exits) {
            *sum += count;
        }
        self.lost += other.lost;
        self.unwatched = self.unwatched.max(other.unwatched);
    }

    fn selected(&self, selection: &Selection) -> Selected {
        let kinds = [ExitKind::ProcessEnded, ExitKind::ProcessContinues, ExitKind::Unknown];
        let taken = kinds.into_iter().filter(|kind| selection.scope().includes(*kind));
        Selected { exits: taken.map(|kind| self.exits[kind as usize]).sum(), lost: self.lost }
    }
}

impl Tally {
    /// Counts one loss.
    pub(super) fn of_lost(cpu: u32, count: u64) -> Self {
        let totals = CpuTotals { lost: count, ..CpuTotals::default() };
        Self { by_cpu: vec![(cpu, totals)] }
    }

    /// Marks CPUs without a listener before `sequence`.
    pub(super) fn of_unwatched(cpus: &Cpumask, sequence: u64) -> Self {
        let totals = CpuTotals { unwatched: sequence, ..CpuTotals::default() };
        Self { by_cpu: cpus.iter().map(|cpu| (cpu, totals)).collect() }
    }

    /// Returns the counts of `selection`.
    pub(super) fn selected(&self, selection: &Selection) -> Selected {
        let taken = self.by_cpu.iter().filter(|(cpu, _)| selection.cpus().contains(*cpu));
        taken.map(|(_, totals)| totals.selected(selection)).sum()
    }

    /// Memory held beside the struct itself, in bytes.
    pub(super) fn memory(&self) -> usize {
        self.by_cpu.capacity() * size_of::<(u32, CpuTotals)>()
    }
}

impl Tallier {
    /// Tallies exits of CPUs with numbers below `cpus`.
    pub(super) fn new(cpus: usize) -> Self {
        Self { entries: vec![NO_ENTRY; cpus] }
    }

    /// Counts a chunk's exits by CPU, in one step each however many CPUs there are.
    pub(super) fn tally(&mut self, exits: impl Iterator<Item = (u32, ExitKind)>) -> Tally {
        let mut tally = Tally::default();
        for (cpu, kind) in exits {
            let Some(entry) = self.entries.get_mut(cpu as usize) else { continue };
            if *entry == NO_ENTRY {
                *entry = tally.by_cpu.len();
                tally.by_cpu.push((cpu, CpuTotals::default()));
            }
            tally.by_cpu[*entry].1.exits[kind as usize] += 1;
        }
        for (cpu, _) in &tally.by_cpu {
            self.entries[*cpu as usize] = NO_ENTRY;
        }
        tally.by_cpu.shrink_to_fit();
        tally
    }
}

impl Totals {
    /// Room for `cpus` CPUs; others are not counted.
    pub(super) fn new(cpus: usize) -> Self {
        Self { by_cpu: vec![CpuTotals::default(); cpus] }
    }

    pub(super) fn add_exit(&mut self, cpu: u32, kind: ExitKind) {
        if let Some(sum) = self.by_cpu.get_mut(cpu as usize) {
            sum.exits[kind as usize] += 1;
        }
    }

    pub(super) fn add_lost(&mut self, cpu: u32, count: u64) {
        if let Some(sum) = self.by_cpu.get_mut(cpu as usize) {
            sum.lost += count;
        }
    }

    pub(super) fn add(&mut self, tally: &Tally) {
        for (cpu, totals) in &tally.by_cpu {
            if let Some(sum) = self.by_cpu.get_mut(*cpu as usize) {
                sum.add(totals);
            }
        }
    }

    pub(super) fn snapshot(&self) -> Vec<TotalsSnapshot> {
        let by_cpu = (0..).zip(&self.by_cpu).filter(|(_, totals)| **totals != CpuTotals::default());
        let saved = by_cpu.map(|(cpu, totals)| TotalsSnapshot {
            cpu,
            exits: totals.exits.to_vec(),
            lost: totals.lost,
            unwatched: totals.unwatched,
        });
        saved.collect()
    }

    /// Restores totals of at most `cpus` CPUs.
    pub(super) fn restore(saved: &[TotalsSnapshot], cpus: usize) -> Result<Self, InvalidSnapshot> {
        let mut totals = Self::new(cpus);
        for saved in saved {
            let cpu = totals.by_cpu.get_mut(saved.cpu as usize);
            let cpu = cpu.ok_or(InvalidSnapshot("a CPU is not possible here"))?;
            let exits = saved.exits.as_slice().try_into();
            cpu.exits = exits.map_err(|_| InvalidSnapshot("a CPU's totals are cut short"))?;
            cpu.lost = saved.lost;
            cpu.unwatched = saved.unwatched;
        }
        Ok(totals)
    }

    /// Returns true if a selected CPU was not listened to for a time among what was added with
    /// sequences from `from` on.
    pub(super) fn unwatched_since(&self, from: u64, selection: &Selection) -> bool {
        let mut cpus = selection.cpus().iter().filter_map(|cpu| self.by_cpu.get(cpu as usize));
        cpus.any(|totals| totals.unwatched >= from)
    }

    /// Returns the counts of `selection` over all that was added.
    pub(super) fn selected(&self, selection: &Selection) -> Selected {
        let cpus = selection.cpus().iter();
        let taken = cpus.filter_map(|cpu| self.by_cpu.get(cpu as usize));
        taken.map(|totals| totals.selected(selection)).sum()
    }
}

impl Selected {
    /// Returns the difference to an earlier count.
    pub(super) fn since(self, earlier: Self) -> Self {
        Self {
            exits: self.exits.saturating_sub(earlier.exits),
            lost: self.lost.saturating_sub(earlier.lost),
        }
    }
}

impl std::iter::Sum for Selected {
    fn sum<I: Iterator<Item = Self>>(items: I) -> Self {
        items.fold(Self::default(), |sum, item| Self {
            exits: sum.exits + item.exits,
            lost: sum.lost + item.lost,
        })
    }
}
