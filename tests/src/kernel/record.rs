//! `struct taskstats`, by the offsets of the kernel's `include/uapi/linux/taskstats.h`.

use std::ffi::CStr;

use anyhow::{Context, Result};

use super::wire::{read_u16, read_u32, read_u64};

/// One record as the kernel sent it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    bytes: Vec<u8>,
}

/// Offsets of the fields of a record, in bytes, in versions 1 to 14 and from 16 on.
pub mod offset {
    /// `ac_exitcode`, u32.
    pub const EXIT_CODE: usize = 4;
    /// `ac_flag`, u8.
    pub const FLAG: usize = 8;
    /// `ac_nice`, i8.
    pub const NICE: usize = 9;
    /// `cpu_run_real_total`, u64, ns.
    pub const CPU_RUN_REAL: usize = 64;
    /// `cpu_run_virtual_total`, u64, ns.
    pub const CPU_RUN_VIRTUAL: usize = 72;
    /// `ac_comm`, 32 bytes.
    pub const COMM: usize = 80;
    /// `ac_sched`, u8.
    pub const SCHED: usize = 112;
    /// `ac_uid`, u32.
    pub const UID: usize = 120;
    /// `ac_gid`, u32.
    pub const GID: usize = 124;
    /// `ac_pid`, u32.
    pub const PID: usize = 128;
    /// `ac_ppid`, u32.
    pub const PPID: usize = 132;
    /// `ac_etime`, u64, µs.
    pub const ELAPSED: usize = 144;
    /// `ac_utime`, u64, µs.
    pub const USER_TIME: usize = 152;
    /// `ac_stime`, u64, µs.
    pub const SYSTEM_TIME: usize = 160;
    /// `ac_minflt`, u64.
    pub const MINOR_FAULTS: usize = 168;
    /// `ac_majflt`, u64.
    pub const MAJOR_FAULTS: usize = 176;
    /// `coremem`, u64, MB·µs.
    pub const RSS_INTEGRAL: usize = 184;
    /// `virtmem`, u64, MB·µs.
    pub const VM_INTEGRAL: usize = 192;
    /// `hiwater_rss`, u64, KiB.
    pub const PEAK_RSS: usize = 200;
    /// `hiwater_vm`, u64, KiB.
    pub const PEAK_VM: usize = 208;
    /// `read_char`, u64, bytes.
    pub const READ_CHARS: usize = 216;
    /// `write_char`, u64, bytes.
    pub const WRITE_CHARS: usize = 224;
    /// `read_syscalls`, u64.
    pub const READ_SYSCALLS: usize = 232;
    /// `write_syscalls`, u64.
    pub const WRITE_SYSCALLS: usize = 240;
    /// `read_bytes`, u64.
    pub const READ_BYTES: usize = 248;
    /// `write_bytes`, u64.
    pub const WRITE_BYTES: usize = 256;
    /// `cancelled_write_bytes`, u64.
    pub const CANCELLED_WRITE_BYTES: usize = 264;
    /// `nvcsw`, u64.
    pub const VOLUNTARY_SWITCHES: usize = 272;
    /// `nivcsw`, u64.
    pub const INVOLUNTARY_SWITCHES: usize = 280;
    /// `ac_utimescaled`, u64, µs.
    pub const USER_TIME_SCALED: usize = 288;
    /// `ac_stimescaled`, u64, µs.
    pub const SYSTEM_TIME_SCALED: usize = 296;
    /// `cpu_scaled_run_real_total`, u64, ns.
    pub const CPU_RUN_REAL_SCALED: usize = 304;
    /// `ac_btime64`, u64, s since 1970.
    pub const BEGIN_TIME: usize = 344;
    /// `ac_tgid`, u32.
    pub const TGID: usize = 368;
    /// `ac_tgetime`, u64, µs.
    pub const GROUP_ELAPSED: usize = 376;
    /// `ac_exe_dev`, u64.
    pub const EXECUTABLE_DEVICE: usize = 384;
    /// `ac_exe_inode`, u64.
    pub const EXECUTABLE_INODE: usize = 392;
    /// Count of each class of delay, u64; the total in ns is the next u64. In the order cpu, block
    /// I/O, swap-in, reclaim, thrashing, compaction, write-protect copy, interrupts.
    pub const DELAYS: [usize; 8] = [16, 32, 48, 312, 328, 352, 400, 416];
    /// Longest wait of the first class, u64, ns; the shortest is the next u64, and the other
    /// classes follow in the order of [`DELAYS`]. Since version 16.
    pub const DELAY_EXTREMES: usize = 432;
    /// The time of the end of the longest wait of the first class: s and ns since 1970, i64 each;
    /// the other classes follow in the order of [`DELAYS`]. Since version 17.
    pub const DELAY_MOMENTS: usize = 560;
    /// The record's length in version 16; bytes behind it are newer.
    pub const END_OF_VERSION_16: usize = 560;
}

/// Length of `ac_comm`.
const COMM_LENGTH: usize = 32;

impl Record {
    /// Copies the kernel's bytes.
    pub(super) fn new(bytes: &[u8]) -> Self {
        Self { bytes: bytes.to_vec() }
    }

    /// Returns the version of the struct.
    ///
    /// # Errors
    ///
    /// The record is shorter than that.
    pub fn version(&self) -> Result<u32> {
        Ok(read_u16(&self.bytes, 0)?.into())
    }

    /// Returns the record as the kernel sent it.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Returns the byte at `at`.
    ///
    /// # Errors
    ///
    /// The record is shorter than that.
    pub fn u8(&self, at: usize) -> Result<u8> {
        self.bytes.get(at).copied().context("record too short")
    }

    /// Returns the u32 at `at`.
    ///
    /// # Errors
    ///
    /// The record is shorter than that.
    pub fn u32(&self, at: usize) -> Result<u32> {
        read_u32(&self.bytes, at)
    }

    /// Returns the u64 at `at`.
    ///
    /// # Errors
    ///
    /// The record is shorter than that.
    pub fn u64(&self, at: usize) -> Result<u64> {
        read_u64(&self.bytes, at)
    }

    /// Returns the command name.
    ///
    /// # Errors
    ///
    /// The record is shorter than that, or the name has no end.
    pub fn comm(&self) -> Result<String> {
        let bytes = self.bytes.get(offset::COMM..offset::COMM + COMM_LENGTH);
        let name = CStr::from_bytes_until_nul(bytes.context("record too short")?)?;
        Ok(name.to_string_lossy().into_owned())
    }
}
