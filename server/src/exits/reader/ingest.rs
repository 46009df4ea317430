//! The path from the listener to the history.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::gap_detector::GapDetector;
use super::process_ends::{Disposition, ProcessEnds};
use crate::bpf::{CgroupId, CgroupLosses};
use crate::exits::counters::Counters;
use crate::exits::history::{ChunkBuilder, History, KernelLoss};
use crate::exits::loss_log;
use crate::taskstats::{Cpumask, DelayAccounting, Exit, ExitSink};

/// A CPU's losses are reported at most this often, so that an overload does not become a storm of
/// messages. The first one is reported at once.
const LOSS_INTERVAL: Duration = Duration::from_millis(100);

/// Encodes exits, adds up losses, and appends both to the history in the order in which they are read.
#[derive(Debug)]
pub(super) struct Ingest {
    history: Arc<History>,
    counters: Arc<Counters>,
    builder: ChunkBuilder,
    /// The sequence of the first exit of the chunk being built.
    first: u64,
    /// The time of the present drain, since 1970.
    now: Duration,
    /// The time of the last drain that left all sockets empty. Drops that are found later happened since.
    clean_at: Duration,
    delay_accounting: DelayAccounting,
    losses: BTreeMap<u32, Losses>,
    /// True if this run, or the one before it, listened already, so that there may be cursors.
    listened: bool,
    gaps: GapDetector,
    process_ends: ProcessEnds,
    /// Whether the present drain has left all sockets empty.
    left_nothing: bool,
}

/// The losses of one CPU.
#[derive(Clone, Debug, Default)]
struct Losses {
    reported_at: Option<Instant>,
    pending: Option<PendingLoss>,
}

/// A loss that was not appended yet.
#[derive(Clone, Debug)]
struct PendingLoss {
    count: u64,
    first_at: Duration,
    last_at: Duration,
    by_cgroup: CgroupLosses,
}

impl Ingest {
    /// Begins at `now`, since 1970.
    pub(super) fn new(history: Arc<History>, counters: Arc<Counters>, now: Duration) -> Self {
        Self {
            first: history.next_sequence(),
            history,
            counters,
            builder: ChunkBuilder::default(),
            now,
            clean_at: now,
            delay_accounting: DelayAccounting::default(),
            losses: BTreeMap::new(),
            listened: false,
            gaps: GapDetector::default(),
            process_ends: ProcessEnds::default(),
            left_nothing: false,
        }
    }

    /// Sets the meaning of zero delays for the next exits.
    pub(super) fn set_delay_accounting(&mut self, delay_accounting: DelayAccounting) {
        self.delay_accounting = delay_accounting;
    }

    /// Continues an earlier run, which read the sockets last at `read_at`, since 1970.
    pub(super) fn resume(&mut self, read_at: Duration) {
        self.clean_at = read_at;
        self.listened = true;
    }

    /// Begins a drain, at a time since 1970. The clock of the wall may have been set back or forward
    /// since the last one: it only dates exits and losses, and nothing waits by it.
    pub(super) fn begin(&mut self, now: Duration) {
        self.now = now;
        self.left_nothing = false;
    }

    /// Notes that the present drain has left all sockets empty.
    pub(super) fn left_nothing(&mut self) {
        self.clean_at = self.now;
        self.left_nothing = true;
    }

    /// Ends a drain that began at `now`: appends what it brought, and the exits and losses that are due.
    pub(super) fn end(&mut self, now: Instant) {
        if self.left_nothing {
            while let Some((exit, received_at)) = self.process_ends.next_due(now) {
                self.append(&exit, received_at);
            }
            self.process_ends.all_were_read(now);
        }
        self.flush();
        self.count_gaps(now);
        self.tell_losses(now, |losses| losses.due().is_none_or(|due| due <= now));
    }

    /// Appends all exits and losses, due or not.
    pub(super) fn finish(&mut self, now: Instant) {
        while let Some((exit, received_at)) = self.process_ends.next() {
            self.append(&exit, received_at);
        }
        self.process_ends.forget();
        self.flush();
        self.tell_losses(now, |_| true);
    }

    fn tell_losses(&mut self, now: Instant, ready: impl Fn(&Losses) -> bool) {
        for (cpu, losses) in self.losses.iter_mut().filter(|(_, losses)| ready(losses)) {
            if let Some(loss) = losses.pending.take() {
                losses.reported_at = Some(now);
                self.first += loss.count;
                let PendingLoss { count, first_at, last_at, by_cgroup } = loss;
                let ids: Vec<CgroupId> = by_cgroup.keys().copied().collect();
                let cgroups = self.history.cgroups().intern(&ids).into_iter();
                let by_cgroup = cgroups.zip(by_cgroup.into_values()).collect();
                let loss = KernelLoss { cpu: *cpu, count, first_at, last_at, by_cgroup };
                loss_log::dropped_in_kernel(&loss, self.counters.lost_in_kernel.get());
                self.history.append_lost(loss);
            }
        }
    }

    /// Returns the sequence of the next exit, once a drain has ended.
    pub(super) fn next_sequence(&self) -> u64 {
        self.first
    }

    /// When a loss or an exit that waits is due.
    pub(super) fn next_due(&self) -> Option<Instant> {
        let losses = self.losses.values().filter(|losses| losses.pending.is_some());
        losses.filter_map(Losses::due).chain(self.process_ends.due()).min()
    }

    /// Notes that CPUs are registered that were not before `now`, since 1970.
    pub(super) fn opened(&mut self, cpus: Cpumask, now: Duration) {
        if std::mem::replace(&mut self.listened, true) {
            self.history.append_unwatched(cpus, now);
            self.first += 1;
        }
    }

    /// Drops the state of a CPU that is no longer registered.
    pub(super) fn closed(&mut self, cpu: u32) {
        self.gaps.forget(cpu);
    }

    /// Counts messages of the kernel that neither arrived nor were dropped.
    fn count_gaps(&mut self, now: Instant) {
        let missing = self.gaps.missing(now);
        if missing == 0 {
            return;
        }
        if self.counters.unexplained_gaps.get() == 0 {
            tracing::warn!(
                count = missing,
                "missed messages that the kernel numbered but neither sent nor counted as dropped; \
                 GetNode counts further ones as unexplained_gaps"
            );
        }
        self.counters.unexplained_gaps.add(missing);
    }

    fn append(&mut self, exit: &Exit, received_at: Duration) {
        self.builder.push(exit, self.first, received_at, self.delay_accounting);
        if self.builder.is_full() {
            self.flush();
        }
    }

    fn flush(&mut self) {
        if self.builder.is_empty() {
            return;
        }
        let chunk = self.builder.build(self.first, self.history.cgroups());
        self.first = chunk.next();
        self.counters.received.add(chunk.len());
        self.history.append_exits(chunk);
    }
}

impl ExitSink for Ingest {
    fn exit(&mut self, exit: &Exit) {
        self.gaps.received(exit.cpu, exit.kernel_sequence);
        self.counters.attributed.of(exit.owner.map(|owner| owner.attribution)).add(1);
        match self.process_ends.receive(exit, self.now) {
            Disposition::PassOn => self.append(exit, self.now),
            Disposition::Waits => {
                if let Some((exit, received_at)) = self.process_ends.next_beyond_limit() {
                    self.append(&exit, received_at);
                }
            }
        }
    }

    fn dropped(&mut self, cpu: u32, count: u64, by_cgroup: CgroupLosses) {
        self.gaps.dropped(count);
        self.counters.lost_in_kernel.add(count);
        let new = PendingLoss {
            count: 0,
            first_at: self.clean_at,
            last_at: self.now,
            by_cgroup: CgroupLosses::new(),
        };
        let losses = self.losses.entry(cpu).or_default();
        let pending = losses.pending.get_or_insert(new);
        pending.count += count;
        for (cgroup, count) in by_cgroup {
            *pending.by_cgroup.entry(cgroup).or_default() += count;
        }
        // A clock that was set back must not make a loss end before it began.
        pending.first_at = pending.first_at.min(self.now);
        pending.last_at = pending.last_at.max(self.now);
    }
}

impl Losses {
    /// Returns the time of the next report; `None` for at once.
    fn due(&self) -> Option<Instant> {
        self.reported_at.map(|reported_at| reported_at + LOSS_INTERVAL)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn ingest() -> Ingest {
        Ingest::new(
            Arc::new(History::new(1 << 20, 1, Arc::default())),
            Arc::default(),
            Duration::ZERO,
        )
    }

    /// A loss that a step of the clock lies in: its interval stays one, and holds both times.
    #[test]
    fn a_loss_across_a_step_of_the_clock_ends_after_it_began() {
        let noon = 12 * HOUR;
        for stepped in [noon - HOUR, noon + HOUR] {
            let mut ingest = ingest();
            ingest.begin(noon);
            ingest.left_nothing();
            ingest.begin(stepped);
            ingest.dropped(0, 3, CgroupLosses::new());
            let loss = ingest.losses[&0].pending.clone().unwrap();
            assert_eq!((loss.first_at, loss.last_at), (noon.min(stepped), stepped));
            ingest.begin(noon);
            ingest.dropped(0, 4, CgroupLosses::new());
            let loss = ingest.losses[&0].pending.clone().unwrap();
            assert_eq!((loss.first_at, loss.last_at), (noon.min(stepped), noon.max(stepped)));
            assert_eq!(loss.count, 7);
        }
    }

    /// A loss that waits is due by the monotonic clock, however the other one is set.
    #[test]
    fn a_step_of_the_clock_delays_no_loss() {
        let (noon, started) = (12 * HOUR, Instant::now());
        let mut ingest = ingest();
        ingest.begin(noon);
        ingest.dropped(0, 1, CgroupLosses::new());
        ingest.end(started);
        assert!(ingest.losses[&0].pending.is_none(), "the first one is reported at once");
        ingest.begin(noon - HOUR);
        ingest.dropped(0, 1, CgroupLosses::new());
        ingest.end(started);
        assert_eq!(ingest.next_due(), Some(started + LOSS_INTERVAL));
        ingest.begin(noon + HOUR);
        ingest.end(started + LOSS_INTERVAL);
        assert!(ingest.losses[&0].pending.is_none(), "it was due");
        assert_eq!(ingest.next_sequence(), 3);
    }
}
