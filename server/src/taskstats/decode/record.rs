//! The fields of one record. A field is present if it lies completely inside the available bytes.

use std::marker::PhantomData;
use std::time::Duration;

use super::Provenance;
use crate::taskstats::layout::{Layout, offset};
use crate::taskstats::stats::{
    Comm, ContextSwitches, CpuTime, Delay, DelayClass, Executable, Extremes, Faults, Identity, Io,
    Memory, Stats, TaskIdentity,
};

/// Nanoseconds in a second. The kernel's nanoseconds are always below it.
const NANOSECONDS_PER_SECOND: u32 = 1_000_000_000;

/// The byte order of integers.
pub(super) trait ByteOrder {
    fn u16(bytes: [u8; 2]) -> u16;
    fn u32(bytes: [u8; 4]) -> u32;
    fn u64(bytes: [u8; 8]) -> u64;
}

/// The known part of one record.
pub(super) struct Record<'a, Order> {
    bytes: &'a [u8],
    version: u16,
    layout: Layout,
    order: PhantomData<Order>,
}

impl<'a, Order: ByteOrder> Record<'a, Order> {
    #[inline(always)]
    pub(super) fn new(bytes: &'a [u8], version: u16, layout: Layout) -> Self {
        Self { bytes, version, layout, order: PhantomData }
    }

    #[inline(always)]
    pub(super) fn stats(&self, provenance: Provenance, unknown_tail: Vec<u8>) -> Stats {
        let exit_status = match provenance {
            Provenance::LiveGroup { tgid } => return self.group(tgid, unknown_tail),
            Provenance::ExitedGroup { tgid, .. } => return self.exited_group(tgid, unknown_tail),
            Provenance::LiveTask => self.status_of_zombie(),
            Provenance::ExitedTask => self.u32(offset::EXIT_CODE),
        };
        Stats {
            version: self.version,
            identity: self.identity(),
            exit_status,
            cpu: self.cpu(),
            elapsed_us: self.u64(offset::ETIME),
            group_elapsed_us: self.u64(offset::TGETIME),
            faults: self.faults(),
            memory: self.memory(),
            io: self.io(),
            context_switches: self.context_switches(),
            delays: each_class(|class| self.delay_with_extremes(class)),
            executable: self.executable(),
            unknown_tail,
        }
    }

    #[inline(always)]
    fn group(&self, tgid: u32, unknown_tail: Vec<u8>) -> Stats {
        Stats {
            version: self.version,
            identity: Identity { tgid: Some(tgid), ..Identity::default() },
            cpu: self.group_cpu(),
            context_switches: self.context_switches(),
            delays: each_class(|class| self.delay(class)),
            unknown_tail,
            ..Stats::default()
        }
    }

    /// Kernels that do not sum the times of exited tasks do not sum their context switches either.
    #[inline(always)]
    fn exited_group(&self, tgid: u32, unknown_tail: Vec<u8>) -> Stats {
        let group = self.group(tgid, unknown_tail);
        let context_switches = group.context_switches.filter(|_| self.sums_times());
        Stats { context_switches, ..group }
    }

    /// Returns the exit status of a task that has exited and not been reaped.
    ///
    /// The kernel keeps the signal that stopped a traced task in the same field (`ptrace_stop` in
    /// `kernel/signal.c`), and some versions copy it into the record. Only an exited task has no
    /// memory, so the memory fields distinguish the two. If the record is truncated before them,
    /// the status is absent.
    fn status_of_zombie(&self) -> Option<u32> {
        let has_memory = self.u64(offset::HIWATER_VM)? != 0;
        self.u32(offset::EXIT_CODE).filter(|&status| status != 0 && !has_memory)
    }

    #[inline(always)]
    fn identity(&self) -> Identity {
        Identity {
            pid: self.u32(offset::PID),
            tgid: self.u32(offset::TGID),
            task: self.task_identity(),
        }
    }

    #[inline(always)]
    fn task_identity(&self) -> Option<TaskIdentity> {
        Some(TaskIdentity {
            ppid: self.u32(offset::PPID)?,
            uid: self.u32(offset::UID)?,
            gid: self.u32(offset::GID)?,
            comm: Comm::new(&self.chunk(offset::COMM)?),
            nice: i8::from_ne_bytes(self.chunk(offset::NICE)?),
            scheduler: self.u8(offset::SCHED)?,
            flags: self.u8(offset::FLAG)?,
            begin_time_s: self.begin_time_s()?,
        })
    }

    #[inline(always)]
    fn begin_time_s(&self) -> Option<i64> {
        let wide = self.u64(offset::BTIME64).and_then(|seconds| i64::try_from(seconds).ok());
        wide.or_else(|| self.u32(offset::BTIME).map(i64::from))
    }

    #[inline(always)]
    fn cpu(&self) -> CpuTime {
        CpuTime {
            user_us: self.u64(offset::UTIME),
            system_us: self.u64(offset::STIME),
            user_scaled_us: self.u64(offset::UTIME_SCALED),
            system_scaled_us: self.u64(offset::STIME_SCALED),
            run_real_ns: self.u64(offset::CPU_RUN_REAL),
            run_virtual_ns: self.u64(offset::CPU_RUN_VIRTUAL),
            run_real_scaled_ns: self.u64(offset::CPU_SCALED_RUN_REAL),
        }
    }

    /// Returns whether the kernel sums times over this group. Elapsed times are among them, and
    /// their sum is never 0.
    fn sums_times(&self) -> bool {
        self.u64(offset::ETIME).is_some_and(|sum| sum != 0)
    }

    /// Returns the CPU times that kernels sum over a group. Only some versions sum user and system
    /// time.
    fn group_cpu(&self) -> CpuTime {
        let sums_times = self.sums_times();
        CpuTime {
            user_us: self.u64(offset::UTIME).filter(|_| sums_times),
            system_us: self.u64(offset::STIME).filter(|_| sums_times),
            user_scaled_us: None,
            system_scaled_us: None,
            ..self.cpu()
        }
    }

    #[inline(always)]
    fn faults(&self) -> Option<Faults> {
        Some(Faults { minor: self.u64(offset::MINFLT)?, major: self.u64(offset::MAJFLT)? })
    }

    #[inline(always)]
    fn memory(&self) -> Option<Memory> {
        Some(Memory {
            rss_integral_mb_us: self.u64(offset::COREMEM)?,
            vm_integral_mb_us: self.u64(offset::VIRTMEM)?,
            peak_rss_kib: self.u64(offset::HIWATER_RSS)?,
            peak_vm_kib: self.u64(offset::HIWATER_VM)?,
        })
    }

    #[inline(always)]
    fn io(&self) -> Option<Io> {
        Some(Io {
            read_chars_bytes: self.u64(offset::READ_CHAR)?,
            write_chars_bytes: self.u64(offset::WRITE_CHAR)?,
            read_syscalls: self.u64(offset::READ_SYSCALLS)?,
            write_syscalls: self.u64(offset::WRITE_SYSCALLS)?,
            read_bytes: self.u64(offset::READ_BYTES)?,
            write_bytes: self.u64(offset::WRITE_BYTES)?,
            cancelled_write_bytes: self.u64(offset::CANCELLED_WRITE_BYTES)?,
        })
    }

    #[inline(always)]
    fn context_switches(&self) -> Option<ContextSwitches> {
        Some(ContextSwitches {
            voluntary: self.u64(offset::NVCSW)?,
            involuntary: self.u64(offset::NIVCSW)?,
        })
    }

    #[inline(always)]
    fn executable(&self) -> Option<Executable> {
        let device = self.u64(offset::EXE_DEV)?;
        let inode = self.u64(offset::EXE_INODE)?;
        (device != 0 || inode != 0).then_some(Executable { device, inode })
    }

    #[inline(always)]
    fn delay(&self, class: usize) -> Option<Delay> {
        let offsets = self.layout.delay(class);
        let (count, total_ns) = (self.u64_at(offsets.count)?, self.u64_at(offsets.total)?);
        Some(Delay { count, total_ns, extremes: None })
    }

    #[inline(always)]
    fn delay_with_extremes(&self, class: usize) -> Option<Delay> {
        let delay = self.delay(class)?;
        Some(Delay { extremes: self.extremes(class, delay.count), ..delay })
    }

    #[inline(always)]
    fn extremes(&self, class: usize, count: u64) -> Option<Extremes> {
        let offsets = self.layout.delay(class);
        let (max_ns, min_ns) = (self.u64_at(offsets.max)?, self.u64_at(offsets.min)?);
        if count == 0 && max_ns == 0 && min_ns == 0 {
            return None;
        }
        Some(Extremes { max_ns, min_ns, max_at: self.max_at(class) })
    }

    /// Returns the end of the longest wait; `None` if the fields are not a valid time after the
    /// Unix epoch.
    fn max_at(&self, class: usize) -> Option<Duration> {
        let offsets = self.layout.delay(class);
        let seconds = self.u64_at(offsets.max_at_seconds)?;
        let nanoseconds = u32::try_from(self.u64_at(offsets.max_at_nanoseconds)?).ok()?;
        let is_valid = i64::try_from(seconds).is_ok() && nanoseconds < NANOSECONDS_PER_SECOND;
        (is_valid && (seconds, nanoseconds) != (0, 0)).then(|| Duration::new(seconds, nanoseconds))
    }

    #[inline(always)]
    fn u8(&self, offset: usize) -> Option<u8> {
        self.bytes.get(self.layout.offset(offset)).copied()
    }

    #[inline(always)]
    fn u32(&self, offset: usize) -> Option<u32> {
        self.chunk(offset).map(Order::u32)
    }

    #[inline(always)]
    fn u64(&self, offset: usize) -> Option<u64> {
        self.chunk(offset).map(Order::u64)
    }

    /// Reads at an offset of this record's layout.
    #[inline(always)]
    fn u64_at(&self, offset: usize) -> Option<u64> {
        self.bytes.get(offset..)?.first_chunk().map(|field| Order::u64(*field))
    }

    #[inline(always)]
    fn chunk<const LENGTH: usize>(&self, offset: usize) -> Option<[u8; LENGTH]> {
        self.bytes.get(self.layout.offset(offset)..)?.first_chunk().copied()
    }
}

/// Calls a function for each class. With `std::array::from_fn` the compiler emits a loop, in which
/// the offsets of a class are not constants; that doubles the duration.
#[inline(always)]
fn each_class<T>(of: impl Fn(usize) -> T) -> [T; DelayClass::COUNT] {
    [of(0), of(1), of(2), of(3), of(4), of(5), of(6), of(7)]
}
