//! Where each field of `struct taskstats` stands, by version.
//!
//! Source: the kernel's `include/uapi/linux/taskstats.h`. Each version appends to the one before,
//! so one table of offsets and one of sizes describe them all, but for v15: its longest and shortest
//! waits stand in the middle, right after the total of each class. v16 moved them to the end.
//!
//! Versions before 8 belong to kernels before 2.6.37, on which this program cannot run (Rust's
//! standard library asks for 3.2). Their sizes follow the header's remarks on what came when.

use super::stats::DelayClass;

/// Offsets of the fields in the appended layout, in bytes.
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

/// Where the count of each class stands in the appended layout. Its total follows.
const DELAY_COUNTS: [usize; DelayClass::COUNT] = [16, 32, 48, 312, 328, 352, 400, 416];

/// Where the first (longest, shortest) pair stands in the appended layout.
const EXTREMES: usize = 432;

/// Where the first moment of a longest wait stands in the appended layout.
const MAX_MOMENTS: usize = 560;

/// Size of one (longest, shortest) pair of `__u64`.
const PAIR: usize = 16;

/// Size of one moment: two `__s64`, the kernel's `struct __kernel_timespec`.
const MOMENT: usize = 16;

/// Size of a `__u64`, by which whatever belongs to one class is apart.
const STEP: usize = 8;

/// The only version whose pairs stand in the middle.
const INTERLEAVED_VERSION: u16 = 15;

/// Size of the struct by version, from v0, which does not exist, to the newest known one.
const SIZES: [usize; 18] =
    [0, 80, 184, 272, 288, 312, 312, 328, 328, 344, 352, 368, 400, 416, 432, 560, 560, 688];

/// Size of the newest known struct, which every later one begins with.
const LONGEST: usize = SIZES[SIZES.len() - 1];

/// How the fields of a version are arranged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layout {
    /// Every version but v15: what is new stands at the end.
    Appended,
    /// v15: the pair of each class stands after its total.
    Interleaved,
}

/// Where the fields of one class of waiting stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DelayPlace {
    pub(crate) count: usize,
    pub(crate) total: usize,
    pub(crate) max: usize,
    pub(crate) min: usize,
    /// Where the seconds stand of the moment of the longest wait.
    pub(crate) max_at_seconds: usize,
    /// Where the nanoseconds stand.
    pub(crate) max_at_nanoseconds: usize,
}

/// Returns how many bytes a version's struct has, as far as this build knows.
pub(crate) fn size_of_version(version: u16) -> usize {
    SIZES.get(usize::from(version)).copied().unwrap_or(LONGEST)
}

impl Layout {
    pub(crate) const fn of_version(version: u16) -> Self {
        if version == INTERLEAVED_VERSION { Self::Interleaved } else { Self::Appended }
    }

    /// Returns where the field stands that has this offset in the appended layout.
    #[inline(always)]
    pub(crate) const fn place(self, offset: usize) -> usize {
        match self {
            Self::Appended => offset,
            Self::Interleaved => offset + PAIR * classes_before(offset),
        }
    }

    #[inline(always)]
    pub(crate) const fn delay(self, class: usize) -> DelayPlace {
        let count = self.place(DELAY_COUNTS[class]);
        let max = match self {
            Self::Appended => EXTREMES + PAIR * class,
            Self::Interleaved => count + PAIR,
        };
        let max_at_seconds = MAX_MOMENTS + MOMENT * class;
        DelayPlace {
            count,
            total: count + STEP,
            max,
            min: max + STEP,
            max_at_seconds,
            max_at_nanoseconds: max_at_seconds + STEP,
        }
    }
}

/// Counts the classes that stand wholly before an offset of the appended layout.
#[inline(always)]
const fn classes_before(offset: usize) -> usize {
    let mut before = 0;
    while before < DELAY_COUNTS.len() && DELAY_COUNTS[before] < offset {
        before += 1;
    }
    before
}
