//! The agent's side of a filter's memory.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use super::layout::{COUNTS, ELEMENT_WORDS, Layout, SPILL, V1_BIT};
use super::syscall::Mapping;

/// Halves of a word, and of an element.
const ELEMENT_HALVES: usize = 2 * ELEMENT_WORDS;

/// A hierarchy of cgroups.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Hierarchy {
    /// The unified hierarchy.
    V2,
    /// A hierarchy of a controller.
    V1,
}

/// A cgroup as the kernel identifies it: an id is unique within its hierarchy until the next boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CgroupId {
    /// The hierarchy.
    pub(crate) hierarchy: Hierarchy,
    /// The id: the inode number of the cgroup's directory.
    pub(crate) id: u64,
}

impl CgroupId {
    /// Reads the form in which filters and snapshots store an id: one number, with the hierarchy in
    /// its highest bit.
    #[must_use]
    pub(crate) fn from_stored(stored: u64) -> Self {
        let hierarchy = if stored & V1_BIT == 0 { Hierarchy::V2 } else { Hierarchy::V1 };
        Self { hierarchy, id: stored & !V1_BIT }
    }

    /// The number that [`CgroupId::from_stored`] reads.
    #[must_use]
    pub(crate) fn to_stored(self) -> u64 {
        match self.hierarchy {
            Hierarchy::V2 => self.id,
            Hierarchy::V1 => self.id | V1_BIT,
        }
    }
}

/// What the filter saw of an exit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    /// The task's cgroup.
    pub(crate) cgroup: CgroupId,
    /// When the task exited: the low half of `CLOCK_BOOTTIME` in nanoseconds.
    pub(crate) ended_low_ns: u32,
}

/// Exits that the kernel dropped, by cgroup.
pub type CgroupLosses = BTreeMap<CgroupId, u64>;

/// The memory of a filter that stays attached to its socket while no agent runs.
#[derive(Debug)]
pub(crate) struct KeptSlots {
    /// The array map.
    pub(crate) map: Arc<OwnedFd>,
    /// The arrangement of the memory.
    pub(crate) layout: u64,
}

/// Reads what the filter of one CPU's socket stored.
#[derive(Debug)]
pub(crate) struct Slots {
    map: Arc<OwnedFd>,
    mapping: Mapping,
    layout: Layout,
    /// The sequence that is expected next; `None` before the first message.
    expected: Option<u32>,
    /// The last sequence that was found outside the window.
    outside: Option<u32>,
    /// Exits within the window that the filter saw and the socket did not deliver.
    skipped: CgroupLosses,
    /// Their sequences: a task that is pre-empted while it exits is delivered behind later ones.
    skipped_sequences: HashSet<u32>,
    /// Exits outside the window that were delivered after all.
    delivered_outside: HashMap<CgroupId, u64>,
    /// Counts of exits outside the window when they were last read, by entry of the table.
    counted: HashMap<usize, u64>,
}

impl Slots {
    /// Maps the memory of a filter from which nothing was read.
    ///
    /// # Errors
    /// The kernel's error.
    pub(super) fn map(map: Arc<OwnedFd>, layout: Layout) -> io::Result<Self> {
        let words = layout.elements() as usize * ELEMENT_WORDS;
        let mapping = Mapping::new(map.as_fd(), words)?;
        Ok(Self {
            map,
            mapping,
            layout,
            expected: None,
            outside: None,
            skipped: CgroupLosses::new(),
            skipped_sequences: HashSet::new(),
            delivered_outside: HashMap::new(),
            counted: HashMap::new(),
        })
    }

    /// Maps the memory of a filter that an earlier run read, and continues behind what it read.
    ///
    /// # Errors
    /// The kernel's error.
    pub(super) fn resume(map: Arc<OwnedFd>, layout: Layout) -> io::Result<Self> {
        let mut slots = Self::map(map, layout)?;
        slots.expected = slots.published();
        Ok(slots)
    }

    /// Leaves the memory for the next run, which counts from zero what is dropped outside the window.
    pub(crate) fn keep(mut self) -> KeptSlots {
        self.count_outside();
        let first = self.layout.first_count() as usize;
        for (entry, counted) in &self.counted {
            // The filter may count at the same time.
            self.mapping.words()[(first + entry) * ELEMENT_WORDS + 1].fetch_sub(*counted, Relaxed);
        }
        KeptSlots { map: self.map, layout: self.layout.id() }
    }

    /// Returns what the filter saw of a received exit message. Messages must be looked up in the order
    /// in which the socket delivered them.
    pub(crate) fn find(&mut self, sequence: u32, pid: u32) -> Option<Seen> {
        let expected = self.expected.or_else(|| self.published())?;
        let distance = sequence.wrapping_sub(expected);
        let seen = self.at(sequence % self.layout.slots, sequence, pid);
        if distance < self.layout.slots {
            self.skip(expected, distance);
            self.expected = Some(sequence.wrapping_add(1));
            if seen.is_some() {
                return seen;
            }
        }
        if let Some(late) = seen {
            self.forget_skip(sequence, late.cgroup);
        }
        let seen = seen.or_else(|| self.at_spill(sequence, pid));
        if distance >= self.layout.slots {
            self.note_outside(sequence);
        }
        seen
    }

    /// The sequence at which the window begins: that of the first message that the filter saw, or the last
    /// one that was published; `None` before a message.
    fn published(&self) -> Option<u32> {
        let header = self.mapping.halves();
        (header[1].load(Acquire) != 0).then(|| header[0].load(Acquire))
    }

    /// Lets the filter use the slots of all messages that were looked up.
    pub(crate) fn publish(&self) {
        if let Some(expected) = self.expected {
            self.mapping.halves()[0].store(expected, Release);
        }
    }

    /// Returns the cgroups of up to `count` messages that the kernel dropped. `is_empty` says that the
    /// socket has no message left, so that a stored exit that was not delivered was dropped.
    pub(crate) fn take_losses(&mut self, count: u64, is_empty: bool) -> CgroupLosses {
        if is_empty {
            self.skip_window();
            self.publish();
        }
        self.count_outside();
        let mut left = count;
        let mut taken = CgroupLosses::new();
        self.skipped.retain(|cgroup, skipped| {
            let now = left.min(*skipped);
            if now > 0 {
                taken.insert(*cgroup, now);
            }
            left -= now;
            *skipped -= now;
            *skipped > 0
        });
        if is_empty {
            // What is left was counted twice, because it was delivered late.
            self.skipped.clear();
            self.skipped_sequences.clear();
        }
        taken
    }

    /// The slot's content, if it belongs to the message.
    fn at(&self, slot: u32, sequence: u32, pid: u32) -> Option<Seen> {
        let (stored, stored_pid, cgroup) = self.load(slot);
        let end = self.layout.first_end() as usize * ELEMENT_HALVES + slot as usize;
        let ended_low_ns = self.mapping.halves()[end].load(Relaxed);
        let cgroup = CgroupId::from_stored(cgroup);
        (stored == sequence && stored_pid == pid).then_some(Seen { cgroup, ended_low_ns })
    }

    fn at_spill(&mut self, sequence: u32, pid: u32) -> Option<Seen> {
        let seen = self.at(self.layout.slots + (sequence & (SPILL - 1)), sequence, pid)?;
        *self.delivered_outside.entry(seen.cgroup).or_default() += 1;
        Some(seen)
    }

    /// Sequence, pid and cgroup of a slot.
    fn load(&self, slot: u32) -> (u32, u32, u64) {
        let element = (self.layout.first_slot() + slot) as usize;
        let halves = &self.mapping.halves()[element * ELEMENT_HALVES..];
        let sequence = halves[0].load(Acquire);
        let cgroup = self.mapping.words()[element * ELEMENT_WORDS + 1].load(Relaxed);
        (sequence, halves[1].load(Relaxed), cgroup)
    }

    /// Counts what is stored in the window and will not be delivered, and moves behind it.
    fn skip_window(&mut self) {
        if let Some(expected) = self.expected {
            let stored = self.last_stored(expected);
            self.skip(expected, stored);
            self.expected = Some(expected.wrapping_add(stored));
        }
    }

    /// Counts the exits of `count` sequences that the filter saw.
    fn skip(&mut self, first: u32, count: u32) {
        for sequence in (0..count).map(|further| first.wrapping_add(further)) {
            let (stored, _, cgroup) = self.load(sequence % self.layout.slots);
            if stored == sequence && cgroup != 0 {
                *self.skipped.entry(CgroupId::from_stored(cgroup)).or_default() += 1;
                self.skipped_sequences.insert(sequence);
            }
        }
    }

    /// Subtracts an exit that was counted as skipped, and was delivered after all.
    fn forget_skip(&mut self, sequence: u32, cgroup: CgroupId) {
        if self.skipped_sequences.remove(&sequence)
            && let Some(skipped) = self.skipped.get_mut(&cgroup)
        {
            *skipped = skipped.saturating_sub(1);
        }
    }

    /// The number of sequences up to the last one of the window that is stored.
    fn last_stored(&self, expected: u32) -> u32 {
        let is_stored = |further: &u32| {
            let sequence = expected.wrapping_add(*further);
            let (stored, _, cgroup) = self.load(sequence % self.layout.slots);
            stored == sequence && cgroup != 0
        };
        (0..self.layout.slots).rev().find(is_stored).map_or(0, |further| further + 1)
    }

    /// Two messages in succession outside the window: the CPU's sequence has moved on, while the
    /// kernel dropped messages. One alone is that of a task that moved to another CPU.
    fn note_outside(&mut self, sequence: u32) {
        if self.outside.map(|before| before.wrapping_add(1)) == Some(sequence) {
            self.skip_window();
            self.expected = Some(sequence.wrapping_add(1));
        }
        self.outside = Some(sequence);
    }

    /// Adds what the filter counted outside the window and the socket did not deliver.
    fn count_outside(&mut self) {
        let first = self.layout.first_count() as usize;
        for entry in 0..COUNTS as usize {
            let words = &self.mapping.words()[(first + entry) * ELEMENT_WORDS..];
            let (cgroup, count) = (words[0].load(Relaxed), words[1].load(Relaxed));
            if cgroup == 0 {
                continue;
            }
            let cgroup = CgroupId::from_stored(cgroup);
            let before = self.counted.insert(entry, count).unwrap_or(0);
            let delivered = self.delivered_outside.remove(&cgroup).unwrap_or(0);
            let new = count.wrapping_sub(before);
            if let Some(over) = delivered.checked_sub(new).filter(|over| *over > 0) {
                self.delivered_outside.insert(cgroup, over);
            }
            let dropped = new.saturating_sub(delivered);
            if dropped > 0 {
                *self.skipped.entry(cgroup).or_default() += dropped;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::layout::ELEMENT_BYTES;
    use super::super::syscall::create_array;
    use super::*;

    const EARLY: u64 = 1;
    const LATE: u64 = 2;
    const PID: u32 = 7;

    /// What a filter stores, which the tests write themselves.
    struct Memory(Slots);

    impl Memory {
        fn new() -> Self {
            let layout = Layout::for_receive_buffer(4096);
            let map = create_array(layout.elements(), ELEMENT_BYTES).expect("a map");
            Self(Slots::map(Arc::new(map), layout).expect("a mapping"))
        }

        /// Stores an exit within the window, which begins at the first one.
        fn store(&self, sequence: u32, cgroup: u64) {
            let mapping = &self.0.mapping;
            if mapping.halves()[1].swap(1, Relaxed) == 0 {
                mapping.halves()[0].store(sequence, Relaxed);
            }
            let element = (self.0.layout.first_slot() + sequence % self.0.layout.slots) as usize;
            mapping.halves()[element * ELEMENT_HALVES].store(sequence, Relaxed);
            mapping.halves()[element * ELEMENT_HALVES + 1].store(PID, Relaxed);
            mapping.words()[element * ELEMENT_WORDS + 1].store(cgroup, Relaxed);
        }

        /// Stores an exit outside the window.
        fn spill(&self, sequence: u32, cgroup: u64) {
            let (mapping, layout) = (&self.0.mapping, self.0.layout);
            let element = (layout.first_slot() + layout.slots + sequence % SPILL) as usize;
            mapping.halves()[element * ELEMENT_HALVES].store(sequence, Relaxed);
            mapping.halves()[element * ELEMENT_HALVES + 1].store(PID, Relaxed);
            mapping.words()[element * ELEMENT_WORDS + 1].store(cgroup, Relaxed);
            let count = &mapping.words()[layout.first_count() as usize * ELEMENT_WORDS..];
            count[0].store(cgroup, Relaxed);
            count[1].fetch_add(1, Relaxed);
        }
    }

    fn losses(of: &[(u64, u64)]) -> CgroupLosses {
        of.iter().map(|(cgroup, count)| (CgroupId::from_stored(*cgroup), *count)).collect()
    }

    #[test]
    fn an_exit_that_is_delivered_late_is_no_loss_of_its_cgroup() {
        let mut memory = Memory::new();
        for (sequence, cgroup) in [(10, EARLY), (11, EARLY), (12, EARLY), (13, LATE)] {
            memory.store(sequence, cgroup);
        }
        for sequence in [10, 12, 11] {
            assert!(memory.0.find(sequence, PID).is_some(), "{sequence}");
        }
        assert_eq!(memory.0.take_losses(1, true), losses(&[(LATE, 1)]));
    }

    /// Exits of the time without an agent have their cgroups, and no loss is counted by both runs.
    #[test]
    fn the_next_run_continues_behind_what_was_read() {
        let mut memory = Memory::new();
        (10..14).for_each(|sequence| memory.store(sequence, EARLY));
        assert!(memory.0.find(10, PID).is_some());
        memory.0.publish();
        memory.spill(9000, LATE);
        assert_eq!(memory.0.take_losses(4, true), losses(&[(EARLY, 3), (LATE, 1)]));
        memory.store(14, LATE);
        let layout = memory.0.layout;
        let KeptSlots { map, layout: id } = memory.0.keep();
        assert_eq!(id, layout.id());
        let mut memory = Memory(Slots::resume(map, layout).expect("a mapping"));
        assert_eq!(memory.0.find(14, PID).map(|seen| seen.cgroup.id), Some(LATE));
        assert_eq!(memory.0.take_losses(1, true), losses(&[]));
        memory.spill(9001, LATE);
        assert_eq!(memory.0.take_losses(1, true), losses(&[(LATE, 1)]));
    }

    /// The socket had room again before it was seen empty.
    #[test]
    fn losses_of_the_window_are_counted_when_messages_arrive_behind_it() {
        let mut memory = Memory::new();
        (0..10).for_each(|sequence| memory.store(sequence, EARLY));
        assert!(memory.0.find(0, PID).is_some());
        for sequence in [5000, 5001] {
            memory.spill(sequence, LATE);
            assert!(memory.0.find(sequence, PID).is_some(), "{sequence}");
        }
        assert_eq!(memory.0.take_losses(9, true), losses(&[(EARLY, 9)]));
    }
}
