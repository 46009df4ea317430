//! Test support: records of a machine with the other byte order, made from records of this one.

use super::record::ByteOrder;
use super::{Provenance, decode_in};
use crate::taskstats::layout::{Layout, offset, size_of_version};
use crate::taskstats::stats::{DelayClass, Stats};

/// The byte order that this machine does not have.
pub(super) struct OtherOrder;

impl ByteOrder for OtherOrder {
    fn u16(bytes: [u8; 2]) -> u16 {
        u16::from_ne_bytes(bytes).swap_bytes()
    }

    fn u32(bytes: [u8; 4]) -> u32 {
        u32::from_ne_bytes(bytes).swap_bytes()
    }

    fn u64(bytes: [u8; 8]) -> u64 {
        u64::from_ne_bytes(bytes).swap_bytes()
    }
}

/// Fields of 2 bytes.
const U16: [usize; 1] = [offset::VERSION];
/// Fields of 4 bytes.
const U32: [usize; 7] = [
    offset::EXIT_CODE,
    offset::UID,
    offset::GID,
    offset::PID,
    offset::PPID,
    offset::BTIME,
    offset::TGID,
];
/// Fields of 8 bytes, except those of delays.
const U64: [usize; 27] = [
    offset::CPU_RUN_REAL,
    offset::CPU_RUN_VIRTUAL,
    offset::ETIME,
    offset::UTIME,
    offset::STIME,
    offset::MINFLT,
    offset::MAJFLT,
    offset::COREMEM,
    offset::VIRTMEM,
    offset::HIWATER_RSS,
    offset::HIWATER_VM,
    offset::READ_CHAR,
    offset::WRITE_CHAR,
    offset::READ_SYSCALLS,
    offset::WRITE_SYSCALLS,
    offset::READ_BYTES,
    offset::WRITE_BYTES,
    offset::CANCELLED_WRITE_BYTES,
    offset::NVCSW,
    offset::NIVCSW,
    offset::UTIME_SCALED,
    offset::STIME_SCALED,
    offset::CPU_SCALED_RUN_REAL,
    offset::BTIME64,
    offset::TGETIME,
    offset::EXE_DEV,
    offset::EXE_INODE,
];

/// Reverses the bytes of each field of a record. The name, fields of one byte and padding stay the
/// same.
pub(crate) fn swap(record: &[u8], version: u16) -> Vec<u8> {
    let layout = Layout::of_version(version);
    let mut swapped = record.to_vec();
    let known = record.len().min(size_of_version(version));
    let mut reverse = |offset: usize, bytes: usize| {
        if offset + bytes <= known {
            swapped[offset..offset + bytes].reverse();
        }
    };
    U16.into_iter().for_each(|field| reverse(layout.offset(field), size_of::<u16>()));
    U32.into_iter().for_each(|field| reverse(layout.offset(field), size_of::<u32>()));
    let wide = U64.into_iter().map(|field| layout.offset(field));
    let delays = (0..DelayClass::COUNT).flat_map(|class| {
        let offsets = layout.delay(class);
        let time = [offsets.max_at_seconds, offsets.max_at_nanoseconds];
        [offsets.count, offsets.total, offsets.max, offsets.min].into_iter().chain(time)
    });
    wide.chain(delays).for_each(|offset| reverse(offset, size_of::<u64>()));
    swapped
}

/// Decodes a record of the other byte order.
pub(crate) fn decode_swapped(record: &[u8], provenance: Provenance) -> Stats {
    decode_in::<OtherOrder>(record, provenance)
}
