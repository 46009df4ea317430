//! Decodes the kernel's records into [`Stats`].

mod record;

use self::record::{ByteOrder, Record};
use super::layout::{Layout, offset, size_of_version};
use super::stats::Stats;

/// The origin of a record, which decides the meaning of its fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Provenance {
    /// The reply to a query for a task. The task may have exited but not been reaped.
    LiveTask,
    /// The task's record in an exit message.
    ExitedTask,
    /// The reply to a query for a group. Kernels sum only some fields over a group
    /// (`delayacct_add_tsk` in `kernel/delayacct.c`); the others are absent.
    LiveGroup {
        /// The group's id, which is not in the record.
        tgid: u32,
    },
    /// The group's record in an exit message. Kernels before v14 sum even less in it: context
    /// switches and times cover only the live tasks (`fill_stats_for_tgid` in
    /// `kernel/taskstats.c`).
    ExitedGroup {
        /// The group's id, which is not in the record.
        tgid: u32,
        /// The version of a record without one: some kernels set only that of the task's record.
        version_if_unset: u16,
    },
}

/// Decodes one `struct taskstats`, in host byte order, of any length and alignment.
///
/// A field is present if the version has it and it lies completely inside `bytes`. A version newer
/// than the newest known one starts with that version's struct, as the kernel's header promises.
/// Bytes after the part of the struct that this program knows become [`Stats::unknown_tail`],
/// whatever the version: nothing that a kernel or a distribution adds is dropped. A record without
/// a version has no fields.
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

/// The byte order of this machine, and so of its kernel.
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
    // Each arm names its layout, so that the compiler turns all offsets in it into constants.
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
