//! The kernel's own numbers of its messages, as a check on its drop counters.
//!
//! `prepare_reply` in the kernel's `kernel/taskstats.c` takes the number from a counter of the CPU
//! that it runs on; the message then goes to the listeners of the CPU that the task is on. A task
//! that moves in between uses another CPU's number, and one that is pre-empted in between is overtaken
//! by the next number, so these numbers are evidence, not a count.

use std::collections::BTreeMap;

/// Compares the numbers of each CPU's messages with its drop counter.
#[derive(Debug, Default)]
pub(super) struct SequenceCheck {
    cpus: BTreeMap<u32, CpuSequence>,
}

#[derive(Clone, Copy, Debug, Default)]
struct CpuSequence {
    /// The number that comes next; `None` before the first message.
    expected: Option<u32>,
    /// Drops that no missing number has been set against yet.
    drops: u64,
}

impl SequenceCheck {
    /// Takes a message's number; returns how many numbers are missing or out of place before it
    /// that drops do not explain.
    pub(super) fn received(&mut self, cpu: u32, number: u32) -> u64 {
        let sequence = self.cpus.entry(cpu).or_default();
        let gap = sequence.expected.map_or(0, |expected| number.wrapping_sub(expected));
        if gap.cast_signed() < 0 {
            // A number of the past: the next one is still the expected one.
            return 1;
        }
        sequence.expected = Some(number.wrapping_add(1));
        let unexplained = u64::from(gap).saturating_sub(sequence.drops);
        sequence.drops = sequence.drops.saturating_sub(gap.into());
        unexplained
    }

    /// Takes a CPU's drops.
    pub(super) fn dropped(&mut self, cpu: u32, count: u64) {
        self.cpus.entry(cpu).or_default().drops += count;
    }

    /// Forgets a CPU, whose numbers go on while nobody of ours listens.
    pub(super) fn forget(&mut self, cpu: u32) {
        self.cpus.remove(&cpu);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_were_dropped_are_explained() {
        let mut check = SequenceCheck::default();
        assert_eq!(check.received(0, u32::MAX), 0, "the first number is any");
        assert_eq!(check.received(0, 0), 0, "numbers wrap");
        check.dropped(0, 5);
        assert_eq!(check.received(0, 6), 0);
        assert_eq!(check.received(0, 9), 2, "7 and 8 are missing");
        assert_eq!(check.received(1, 100), 0, "each cpu counts for itself");
    }

    #[test]
    fn a_number_out_of_place_counts_once() {
        let mut check = SequenceCheck::default();
        check.received(0, 10);
        assert_eq!(check.received(0, 3), 1);
        assert_eq!(check.received(0, 11), 0);
        check.forget(0);
        assert_eq!(check.received(0, 500), 0);
    }
}
