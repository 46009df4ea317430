//! The offsets of the fields of `struct taskstats`, by version.
//!
//! Source: the kernel's `include/uapi/linux/taskstats.h`. Each version appends to the one before,
//! so that one table of offsets and one of sizes describe all of them except v15. In v15 the
//! longest and shortest waits of each class directly follow its total; v16 moved them to the end.
//!
//! Versions before 8 belong to kernels before 2.6.37, on which this program cannot run (Rust's
//! standard library requires 3.2). Their sizes follow the header's notes on the order of additions.

use super::stats::DelayClass;

/// The offsets of the fields in the appended layout, in bytes.
pub(crate) mod offset {
    pub(crate) const VERSION: usize = 0;
    pub(crate) const EXIT_CODE: usize = 4;
    pub(crate) const FLAG: usize = 8;
    pub(crate) const NICE: usize = 9;
    pub(crate) const CPU_RUN_REAL: usize = 64;
    pub(crate) const CPU_RUN_VIRTUAL: usize = 72;
    pub(crate) const COMM: usize = 80;
    pub(crate) const SCHED: usize = 112;
    pub(crate) const UID: usize = 120;
    pub(crate) const GID: usize = 124;
    pub(crate) const PID: usize = 128;
    pub(crate) const PPID: usize = 132;
    pub(crate) const BTIME: usize = 136;
    pub(crate) const ETIME: usize = 144;
    pub(crate) const UTIME: usize = 152;
    pub(crate) const STIME: usize = 160;
    pub(crate) const MINFLT: usize = 168;
    pub(crate) const MAJFLT: usize = 176;
    pub(crate) const COREMEM: usize = 184;
    pub(crate) const VIRTMEM: usize = 192;
    pub(crate) const HIWATER_RSS: usize = 200;
    pub(crate) const HIWATER_VM: usize = 208;
    pub(crate) const READ_CHAR: usize = 216;
    pub(crate) const WRITE_CHAR: usize = 224;
    pub(crate) const READ_SYSCALLS: usize = 232;
    pub(crate) const WRITE_SYSCALLS: usize = 240;
    pub(crate) const READ_BYTES: usize = 248;
    pub(crate) const WRITE_BYTES: usize = 256;
    pub(crate) const CANCELLED_WRITE_BYTES: usize = 264;
    pub(crate) const NVCSW: usize = 272;
    pub(crate) const NIVCSW: usize = 280;
    pub(crate) const UTIME_SCALED: usize = 288;
    pub(crate) const STIME_SCALED: usize = 296;
    pub(crate) const CPU_SCALED_RUN_REAL: usize = 304;
    pub(crate) const BTIME64: usize = 344;
    pub(crate) const TGID: usize = 368;
    pub(crate) const TGETIME: usize = 376;
    pub(crate) const EXE_DEV: usize = 384;
    pub(crate) const EXE_INODE: usize = 392;
}

/// The offset of each class' count in the appended layout. The total follows.
const DELAY_COUNTS: [usize; DelayClass::COUNT] = [16, 32, 48, 312, 328, 352, 400, 416];

/// The offset of the first pair of longest and shortest wait in the appended layout.
const EXTREMES: usize = 432;

/// The offset of the first time of a longest wait in the appended layout.
const MAX_TIMES: usize = 560;

/// The size of a pair of longest and shortest wait, each a `__u64`.
const PAIR: usize = 16;

/// The size of a time, `struct __kernel_timespec`: two `__s64`.
const TIMESPEC: usize = 16;

/// The size of a `__u64`, and so the distance between adjacent fields of a class.
const STEP: usize = 8;

/// The version in which the pairs follow the totals.
const INTERLEAVED_VERSION: u16 = 15;

/// The size of the struct by version, from v0, which does not exist, to the newest known version.
const SIZES: [usize; 18] =
    [0, 80, 184, 272, 288, 312, 312, 328, 328, 344, 352, 368, 400, 416, 432, 560, 560, 688];

/// The size of the newest known struct, with which every later one starts.
const LONGEST: usize = SIZES[SIZES.len() - 1];

/// The arrangement of the fields of a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layout {
    /// Every version except v15: new fields are at the end.
    Appended,
    /// v15: the pair of each class follows its total.
    Interleaved,
}

/// The offsets of the fields of a delay class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DelayOffsets {
    pub(crate) count: usize,
    pub(crate) total: usize,
    pub(crate) max: usize,
    pub(crate) min: usize,
    /// The seconds of the time of the longest wait.
    pub(crate) max_at_seconds: usize,
    /// The nanoseconds of that time.
    pub(crate) max_at_nanoseconds: usize,
}

/// Returns the size of a version's struct, as far as this program knows it.
pub(crate) fn size_of_version(version: u16) -> usize {
    SIZES.get(usize::from(version)).copied().unwrap_or(LONGEST)
}

impl Layout {
    pub(crate) const fn of_version(version: u16) -> Self {
        if version == INTERLEAVED_VERSION { Self::Interleaved } else { Self::Appended }
    }

    /// Returns the offset in this layout of a field, from its offset in the appended layout.
    #[inline(always)]
    pub(crate) const fn offset(self, appended: usize) -> usize {
        match self {
            Self::Appended => appended,
            Self::Interleaved => appended + PAIR * classes_before(appended),
        }
    }

    #[inline(always)]
    pub(crate) const fn delay(self, class: usize) -> DelayOffsets {
        let count = self.offset(DELAY_COUNTS[class]);
        let max = match self {
            Self::Appended => EXTREMES + PAIR * class,
            Self::Interleaved => count + PAIR,
        };
        let max_at_seconds = MAX_TIMES + TIMESPEC * class;
        DelayOffsets {
            count,
            total: count + STEP,
            max,
            min: max + STEP,
            max_at_seconds,
            max_at_nanoseconds: max_at_seconds + STEP,
        }
    }
}

/// Counts the classes that are completely before an offset of the appended layout.
#[inline(always)]
const fn classes_before(offset: usize) -> usize {
    let mut before = 0;
    while before < DELAY_COUNTS.len() && DELAY_COUNTS[before] < offset {
        before += 1;
    }
    before
}
