//! From the kernel's bytes to [`Stats`].

mod record;

use self::record::{ByteOrder, Record};
use super::layout::{Layout, offset, size_of_version};
use super::stats::Stats;

/// Where a record came from, which decides what its fields mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Provenance {
    /// The answer to a question for a task that may still live.
    LiveTask,
    /// The task's record of an exit message.
    ExitedTask,
    /// The answer to a question for a group. Kernels add up only some fields over a group
    /// (`delayacct_add_tsk` in `kernel/delayacct.c`); the others are absent.
    LiveGroup {
        /// The group's id, which the record itself does not have.
        tgid: u32,
    },
    /// The group's record of an exit message. Kernels before v14 add up even less there: context
    /// switches and times only over the living (`fill_stats_for_tgid` in `kernel/taskstats.c`).
    ExitedGroup {
        /// The group's id, which the record itself does not have.
        tgid: u32,
        /// The version to go by when the record has none: some kernels fill in that of the task's
        /// record only.
        version_if_unset: u16,
    },
}

/// Decodes one `struct taskstats`, in host byte order, of any length and at any alignment.
///
/// A field is present when the version has it and it lies wholly inside `bytes`. Versions later than
/// the newest known one are taken to begin with that one's struct, as the header promises. What
/// lies beyond the struct as this build knows it, whichever the version, becomes
/// [`Stats::unknown_tail`]: nothing that a kernel adds is dropped, even if a distribution adds it
/// without a new version. A record that does not say its version says nothing else either.
///
/// ```
/// use taskstatsd::taskstats::{Provenance, decode};
///
/// let mut record = [0; 328];
/// record[..2].copy_from_slice(&8_u16.to_ne_bytes());
/// record[144..152].copy_from_slice(&1_500_u64.to_ne_bytes());
/// let stats = decode(&record, Provenance::ExitedTask);
/// assert_eq!(stats.elapsed_us, Some(1_500));
/// assert_eq!(stats.group_elapsed_us, None, "version 8 has no such field");
/// ```
#[must_use]
pub fn decode(bytes: &[u8], provenance: Provenance) -> Stats {
    decode_in::<HostOrder>(bytes, provenance)
}

/// The order of the machine that this runs on: that of its kernel.
struct HostOrder;

impl ByteOrder for HostOrder {
    fn u16(bytes: [u8; 2]) -> u16 {
        u16::from_ne_bytes(bytes)
    }

    fn u32(bytes: [u8; 4]) -> u32 {
        u32::from_ne_bytes(bytes)
    }

    fn u64(bytes: [u8; 8]) -> u64 {
        u64::from_ne_bytes(bytes)
    }
}

fn decode_in<Order: ByteOrder>(bytes: &[u8], provenance: Provenance) -> Stats {
    let version = version_of::<Order>(bytes, provenance);
    let (known, tail) = bytes.split_at(bytes.len().min(size_of_version(version)));
    let tail = if version == 0 { Vec::new() } else { tail.to_vec() };
    // Each arm names its layout, so that the compiler makes constants of all offsets in it.
    match Layout::of_version(version) {
        Layout::Appended => {
            Record::<Order>::new(known, version, Layout::Appended).stats(provenance, tail)
        }
        Layout::Interleaved => {
            Record::<Order>::new(known, version, Layout::Interleaved).stats(provenance, tail)
        }
    }
}

fn version_of<Order: ByteOrder>(bytes: &[u8], provenance: Provenance) -> u16 {
    let own = bytes[offset::VERSION..].first_chunk().map_or(0, |field| Order::u16(*field));
    match provenance {
        Provenance::ExitedGroup { version_if_unset, .. } if own == 0 => version_if_unset,
        _ => own,
    }
}

#[cfg(test)]
pub(super) mod swapped;
#[cfg(test)]
pub(super) mod tests;
