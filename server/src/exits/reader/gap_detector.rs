//! The kernel's numbers of its messages, as a check on its drop counters.
//!
//! `prepare_reply` in the kernel's `kernel/taskstats.c` numbers a message by a counter of the CPU
//! that it runs on; `taskstats_exit` sends the message to the listeners of the CPU that the task was
//! on before. A task that migrates in between brings a number of another CPU, and one that is
//! pre-empted in between is overtaken by later numbers. So single numbers prove nothing. What holds
//! whatever tasks do is a sum: over all CPUs, the counters advance by as many numbers as messages are
//! received, dropped, or under way. An excess of numbers that does not go away is a gap.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// An excess that lasts so long is a gap. Tasks that are pre-empted while they exit are delayed by
/// less even on an overloaded machine, and drop counters are read each second.
const PATIENCE: Duration = Duration::from_secs(10);
/// Consecutive numbers that confirm the counter of a CPU at an unexpected place. A task that migrates
/// while it exits brings one number of another CPU, and its threads bring a few.
const CONFIRMED: u32 = 8;

/// Finds messages that neither arrived nor were counted as dropped.
#[derive(Debug, Default)]
pub(super) struct GapDetector {
    cpus: BTreeMap<u32, CpuCounter>,
    /// Numbers by which the counters advanced, less the messages that were received or dropped.
    /// Negative while a counter is not yet found at its new place.
    excess: i64,
    window: Option<Window>,
}

/// The kernel's counter of one CPU, as far as messages show it.
#[derive(Debug, Default)]
struct CpuCounter {
    /// The number of the next message. `None` until it is confirmed.
    next: Option<u32>,
    /// Consecutive numbers that arrived in place of the next one.
    candidate: Option<Candidate>,
}

#[derive(Clone, Copy, Debug)]
struct Candidate {
    first: u32,
    count: u32,
}

/// A time of [`PATIENCE`] and the lowest excess in it.
#[derive(Debug)]
struct Window {
    since: Instant,
    lowest: i64,
}

impl CpuCounter {
    /// Records the number of a message. Returns by how much the counter advanced.
    #[inline]
    fn received(&mut self, number: u32) -> i64 {
        if self.next == Some(number) {
            self.next = Some(number.wrapping_add(1));
            self.candidate = None;
            return 1;
        }
        self.received_elsewhere(number)
    }

    fn received_elsewhere(&mut self, number: u32) -> i64 {
        let continued = self.candidate.filter(|it| it.first.wrapping_add(it.count) == number);
        let Candidate { first, count } = continued.unwrap_or(Candidate { first: number, count: 0 });
        if count + 1 < CONFIRMED {
            self.candidate = Some(Candidate { first, count: count + 1 });
            return 0;
        }
        let next = number.wrapping_add(1);
        let before = self.next.replace(next).unwrap_or(first);
        self.candidate = None;
        next.wrapping_sub(before).cast_signed().into()
    }
}

impl GapDetector {
    /// Records the number of a message that the socket of `cpu` received.
    #[inline]
    pub(super) fn received(&mut self, cpu: u32, number: u32) {
        self.excess += self.cpus.entry(cpu).or_default().received(number) - 1;
    }

    /// Records messages that the kernel dropped.
    pub(super) fn dropped(&mut self, count: u64) {
        self.excess = self.excess.saturating_sub_unsigned(count);
    }

    /// Forgets a CPU, whose counter advances while it is not listened to. Messages that were under
    /// way to its socket never arrive.
    pub(super) fn forget(&mut self, cpu: u32) {
        self.cpus.remove(&cpu);
        self.excess = self.excess.min(0);
    }

    /// Returns the number of messages that are found to be missing at the end of a drain. Each is
    /// returned once.
    pub(super) fn missing(&mut self, now: Instant) -> u64 {
        let excess = self.excess;
        let window = self.window.get_or_insert(Window { since: now, lowest: excess });
        window.lowest = window.lowest.min(excess);
        if now < window.since + PATIENCE {
            return 0;
        }
        let missing = u64::try_from(window.lowest).unwrap_or(0);
        self.excess = excess.saturating_sub_unsigned(missing);
        self.window = Some(Window { since: now, lowest: self.excess });
        missing
    }
}

#[cfg(test)]
mod tests;
