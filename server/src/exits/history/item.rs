//! The items of the history.

use std::sync::Arc;
use std::time::Duration;

use super::chunk::Chunk;
use super::snapshot::{InvalidSnapshot, ItemSnapshot, to_ns};
use super::totals::{Tallier, Tally, Totals};
use crate::taskstats::Cpumask;
use crate::workload::{Cgroup, CgroupTable};

/// An item of the history, which covers a range of sequence numbers. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) enum HistoryItem {
    /// Exits, encoded.
    Exits(Arc<Chunk>),
    /// Exits that the kernel dropped.
    Lost { first: u64, loss: KernelLoss },
    /// Listening on these CPUs began here, after a time without a listener. The item has one sequence
    /// number, so that cursors before and after that time differ.
    Unwatched { first: u64, cpus: Arc<Cpumask>, until: Duration },
}

/// Numbers of exits of some cgroups. Cheap to clone.
pub(crate) type CgroupCounts = Arc<[(Arc<Cgroup>, u64)]>;

/// Exits of one CPU that the kernel dropped.
#[derive(Clone, Debug)]
pub(crate) struct KernelLoss {
    /// The CPU.
    pub(crate) cpu: u32,
    /// The number of exits.
    pub(crate) count: u64,
    /// No exit of the loss happened before this time, since 1970.
    pub(crate) first_at: Duration,
    /// No exit of the loss happened after this time, since 1970.
    pub(crate) last_at: Duration,
    /// The losses whose cgroups are known.
    pub(crate) by_cgroup: CgroupCounts,
}

impl HistoryItem {
    pub(super) fn snapshot(&self) -> ItemSnapshot {
        match self {
            Self::Exits(chunk) => chunk.snapshot(),
            Self::Lost { first, loss } => ItemSnapshot {
                first: *first,
                last_at_ns: to_ns(loss.last_at),
                cpus: vec![loss.cpu],
                lost: loss.count,
                first_at_ns: to_ns(loss.first_at),
                cgroups: loss.by_cgroup.iter().map(|(cgroup, _)| cgroup.id().to_stored()).collect(),
                cgroup_counts: loss.by_cgroup.iter().map(|(_, count)| *count).collect(),
                ..ItemSnapshot::default()
            },
            Self::Unwatched { first, cpus, until } => ItemSnapshot {
                first: *first,
                last_at_ns: to_ns(*until),
                cpus: cpus.iter().collect(),
                ..ItemSnapshot::default()
            },
        }
    }

    pub(super) fn restore(
        saved: ItemSnapshot,
        cpus: usize,
        cgroups: &CgroupTable,
    ) -> Result<Self, InvalidSnapshot> {
        if saved.cpus.iter().any(|cpu| *cpu as usize >= cpus) {
            return Err(InvalidSnapshot("a CPU is not possible here"));
        }
        if saved.cpus.is_empty() {
            return Err(InvalidSnapshot("an item has no CPU"));
        }
        if saved.lost == 0 && saved.ends.is_empty() {
            let until = Duration::from_nanos(saved.last_at_ns);
            let cpus = Arc::new(saved.cpus.into_iter().collect());
            return Ok(Self::Unwatched { first: saved.first, cpus, until });
        }
        if saved.lost == 0 {
            return Chunk::restore(saved, cgroups).map(|chunk| Self::Exits(Arc::new(chunk)));
        }
        let [cpu] = saved.cpus[..] else {
            return Err(InvalidSnapshot("a loss has several CPUs"));
        };
        let known =
            saved.cgroup_counts.iter().try_fold(0_u64, |sum, count| sum.checked_add(*count));
        if saved.cgroups.len() != saved.cgroup_counts.len()
            || known.is_none_or(|it| it > saved.lost)
        {
            return Err(InvalidSnapshot("a loss by cgroup is impossible"));
        }
        let interned = cgroups.intern_stored(&saved.cgroups);
        let by_cgroup = interned.into_iter().zip(saved.cgroup_counts).collect();
        let loss = KernelLoss {
            cpu,
            count: saved.lost,
            first_at: Duration::from_nanos(saved.first_at_ns),
            last_at: Duration::from_nanos(saved.last_at_ns),
            by_cgroup,
        };
        Ok(Self::Lost { first: saved.first, loss })
    }

    pub(super) fn first(&self) -> u64 {
        match self {
            Self::Exits(chunk) => chunk.first(),
            Self::Lost { first, .. } | Self::Unwatched { first, .. } => *first,
        }
    }

    /// The sequence after the item.
    pub(super) fn next(&self) -> u64 {
        match self {
            Self::Exits(chunk) => chunk.next(),
            Self::Lost { first, loss } => first + loss.count,
            Self::Unwatched { first, .. } => first + 1,
        }
    }

    /// When the last of its exits was received or lost, since 1970.
    pub(super) fn last_at(&self) -> Duration {
        match self {
            Self::Exits(chunk) => chunk.received_at(),
            Self::Lost { loss, .. } => loss.last_at,
            Self::Unwatched { until, .. } => *until,
        }
    }

    /// Adds what it counts.
    pub(super) fn add_to(&self, totals: &mut Totals) {
        match self {
            Self::Exits(chunk) => chunk.exits().for_each(|(cpu, kind)| totals.add_exit(cpu, kind)),
            Self::Lost { loss, .. } => totals.add_lost(loss.cpu, loss.count),
            Self::Unwatched { .. } => {}
        }
    }

    /// Returns its counts, which outlive it.
    pub(super) fn tally(&self, tallier: &mut Tallier) -> Tally {
        match self {
            Self::Exits(chunk) => tallier.tally(chunk.exits()),
            Self::Lost { loss, .. } => Tally::of_lost(loss.cpu, loss.count),
            Self::Unwatched { first, cpus, .. } => Tally::of_unwatched(cpus, *first),
        }
    }

    pub(super) fn memory(&self) -> usize {
        let outside = match self {
            Self::Exits(chunk) => chunk.memory(),
            Self::Lost { loss, .. } => size_of_val(&*loss.by_cgroup),
            Self::Unwatched { cpus, .. } => size_of_val(&**cpus) + cpus.memory(),
        };
        size_of::<Self>() + outside
    }
}
