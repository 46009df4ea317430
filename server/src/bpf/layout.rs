//! The memory that a filter and the agent share, as an array map of 16-byte elements.
//!
//! | elements | content |
//! | --- | --- |
//! | 1 | header: sequence that the agent expects next, and whether it is set (two 4-byte halves) |
//! | `slots` + [`SPILL`] | one exit each: sequence and pid (two halves), cgroup (8 bytes) |
//! | a quarter of that | end of each exit: low half of `CLOCK_BOOTTIME` in nanoseconds |
//! | [`COUNTS`] | exits beyond the window, by cgroup: cgroup, count |

/// Bytes of an element.
pub(super) const ELEMENT_BYTES: u32 = 16;
/// 8-byte words of an element.
pub(super) const ELEMENT_WORDS: usize = 2;
/// Slots for messages whose sequence is not within the window: those of a task that moved to another
/// CPU while it exited, and those sent while the receive buffer is full. A power of two.
pub(super) const SPILL: u32 = 256;
/// Entries of the table of counts by cgroup. A power of two.
pub(super) const COUNTS: u32 = 512;
/// Entries of that table in which a cgroup is looked for.
pub(super) const COUNT_PROBES: u32 = 4;
/// Memory that one queued message holds at least, in bytes: `truesize` of an skb with a message of
/// struct version 8, whose data is allocated in a power of two (`__alloc_skb` in
/// `net/core/skbuff.c`). Measured with version 16: 2,304.
const LEAST_TRUESIZE: usize = 2_304;
/// Messages that the agent has received but not looked up yet: one `recvmmsg` call's.
const IN_HAND: usize = 64;
/// Bounds of the number of slots, whatever the receive buffer.
const LEAST_SLOTS: usize = 1_024;
const MOST_SLOTS: usize = 1 << 18;
/// The bit of a stored cgroup id that marks the cgroup v1 hierarchy. Ids of kernfs are an inode
/// number and a generation of 32 bits each, which never comes so far.
pub(super) const V1_BIT: u64 = 1 << 63;

/// The version of the memory's arrangement. It changes with the table above.
const VERSION: u64 = 1;

/// The sizes of one filter's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    /// Slots of the window.
    pub(super) slots: u32,
}

impl Layout {
    /// Returns a layout whose window holds every message that a receive buffer of `bytes` can queue.
    /// `bytes` is the value passed to `SO_RCVBUF`, which the kernel doubles.
    pub(super) fn for_receive_buffer(bytes: usize) -> Self {
        let queued = bytes.saturating_mul(2) / LEAST_TRUESIZE + IN_HAND;
        let slots = queued.clamp(LEAST_SLOTS, MOST_SLOTS).next_multiple_of(4);
        Self { slots: u32::try_from(slots).unwrap_or(u32::MAX) }
    }

    /// Identifies the arrangement and its sizes, for another run of the agent that maps the memory.
    pub(super) fn id(self) -> u64 {
        VERSION << u32::BITS | u64::from(self.slots)
    }

    /// First element of the slots.
    pub(super) const fn first_slot(self) -> u32 {
        1
    }

    /// First element of the ends.
    pub(super) const fn first_end(self) -> u32 {
        self.first_slot() + self.slots + SPILL
    }

    /// First element of the counts.
    pub(super) const fn first_count(self) -> u32 {
        self.first_end() + (self.slots + SPILL) / 4
    }

    /// Number of elements.
    pub(super) const fn elements(self) -> u32 {
        self.first_count() + COUNTS
    }

    /// Bytes of the map's values.
    pub(super) const fn bytes(self) -> usize {
        self.elements() as usize * ELEMENT_BYTES as usize
    }
}

/// Bytes that the filter of one CPU shares with the agent, for a receive buffer of `receive_buffer` bytes, in
/// whole pages, as mappings are, and bytes of what the agent remembers of it.
#[must_use]
pub(crate) fn filter_bytes(receive_buffer: usize) -> usize {
    /// The smallest page of the architectures that Linux runs on.
    const PAGE_BYTES: usize = 4096;
    /// A sequence in a hash set, and its control byte.
    const SKIPPED_BYTES: usize = size_of::<u32>() + 1;
    let layout = Layout::for_receive_buffer(receive_buffer);
    // A set has room for twice as many at most, and is copied when it grows.
    let skipped = 2 * (layout.slots as usize).next_power_of_two() * SKIPPED_BYTES;
    layout.bytes().next_multiple_of(PAGE_BYTES) + skipped
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The default receive buffer costs less than 320 KiB for each watched CPU.
    #[test]
    fn the_default_receive_buffer_needs_less_than_320_kib() {
        let layout = Layout::for_receive_buffer(16 << 20);
        assert!(layout.slots as usize * LEAST_TRUESIZE >= 32 << 20);
        assert!(layout.bytes() <= 320 << 10, "{}", layout.bytes());
    }

    #[test]
    fn parts_do_not_overlap_whatever_the_receive_buffer() {
        for bytes in [0, 1, 4096, 1 << 20, 16 << 20, usize::MAX] {
            let layout = Layout::for_receive_buffer(bytes);
            assert_eq!(layout.slots % 4, 0);
            assert!(layout.first_slot() + layout.slots + SPILL <= layout.first_end());
            assert!((layout.first_count() - layout.first_end()) * 4 >= layout.slots + SPILL);
        }
    }
}
