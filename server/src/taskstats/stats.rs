//! The statistics of one task or group, in the kernel's units. Absence differs from zero.

use std::time::Duration;

/// One decoded `struct taskstats`.
///
/// A field is `None` if the kernel's version does not have it, or if it has no meaning in a group's
/// record. The source of every field is the kernel's `include/uapi/linux/taskstats.h`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// The version of the kernel's struct.
    pub version: u16,
    /// The identity of the task.
    pub identity: Identity,
    /// The `wait(2)` status; `None` while the task lives and in a group's record.
    pub exit_status: Option<u32>,
    /// CPU time used.
    pub cpu: CpuTime,
    /// The task's age: elapsed wall time, µs.
    pub elapsed_us: Option<u64>,
    /// The age of the task's group, µs.
    pub group_elapsed_us: Option<u64>,
    /// Page faults.
    pub faults: Option<Faults>,
    /// Memory use.
    pub memory: Option<Memory>,
    /// Input and output.
    pub io: Option<Io>,
    /// Context switches.
    pub context_switches: Option<ContextSwitches>,
    /// Time spent waiting, indexed by [`DelayClass`].
    pub delays: [Option<Delay>; DelayClass::COUNT],
    /// The file that the task executes.
    pub executable: Option<Executable>,
    /// The bytes after the part of the struct that this program knows.
    pub unknown_tail: Vec<u8>,
}

/// The identity of a task. In a group's record only the requested id is set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// Task (thread) id.
    pub pid: Option<u32>,
    /// Process (thread group) id.
    pub tgid: Option<u32>,
    /// Fields of a single task, which a group does not have.
    pub task: Option<TaskIdentity>,
}

/// The attributes of a task beside its ids.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TaskIdentity {
    /// Process id of the parent.
    pub ppid: u32,
    /// Real user id.
    pub uid: u32,
    /// Real group id.
    pub gid: u32,
    /// Command name.
    pub comm: Comm,
    /// Nice value.
    pub nice: i8,
    /// Scheduling policy, the kernel's `SCHED_*` number.
    pub scheduler: u8,
    /// Accounting flags, the kernel's `A*` bits.
    pub flags: u8,
    /// The start time of the task, seconds since the Unix epoch.
    pub begin_time_s: i64,
}

/// A command name: the kernel's bytes, without the terminating NUL.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Comm {
    bytes: [u8; Comm::CAPACITY],
    length: u8,
}

impl Comm {
    /// `TS_COMM_LEN` of the kernel's header.
    pub(crate) const CAPACITY: usize = 32;

    /// Copies the bytes up to the first NUL.
    #[must_use]
    pub(crate) fn new(field: &[u8; Self::CAPACITY]) -> Self {
        const LOWEST_BITS: u64 = 0x0101_0101_0101_0101;
        const HIGHEST_BITS: u64 = 0x8080_8080_8080_8080;
        let mut comm = Self::default();
        // Works on 8 bytes at a time, because it runs for every exit.
        for (word, kept) in field.as_chunks().0.iter().zip(comm.bytes.as_chunks_mut().0) {
            let word = u64::from_le_bytes(*word);
            // The lowest bit that is set belongs to the first byte that is 0.
            let nuls = word.wrapping_sub(LOWEST_BITS) & !word & HIGHEST_BITS;
            let [before_nul, ..] = (nuls.trailing_zeros() / u8::BITS).to_le_bytes();
            comm.length += before_nul;
            if nuls != 0 {
                let before_nul = (1 << (u32::from(before_nul) * u8::BITS)) - 1;
                *kept = (word & before_nul).to_le_bytes();
                break;
            }
            *kept = word.to_le_bytes();
        }
        comm
    }

    /// Returns the name as the kernel stores it, which may be invalid UTF-8.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }
}

/// CPU time used.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CpuTime {
    /// User time, µs.
    pub user_us: Option<u64>,
    /// System time, µs.
    pub system_us: Option<u64>,
    /// User time scaled by CPU frequency, µs.
    pub(crate) user_scaled_us: Option<u64>,
    /// System time scaled by CPU frequency, µs.
    pub(crate) system_scaled_us: Option<u64>,
    /// User and system time, ns.
    pub(crate) run_real_ns: Option<u64>,
    /// Time on a CPU as the scheduler measured it, ns.
    pub run_virtual_ns: Option<u64>,
    /// `run_real_ns` scaled by CPU frequency, ns.
    pub(crate) run_real_scaled_ns: Option<u64>,
}

/// Page faults.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// Faults without storage I/O.
    pub(crate) minor: u64,
    /// Faults with storage I/O.
    pub(crate) major: u64,
}

/// Memory use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// Resident memory integrated over CPU time, MB·µs.
    pub(crate) rss_integral_mb_us: u64,
    /// Virtual memory integrated over CPU time, MB·µs.
    pub(crate) vm_integral_mb_us: u64,
    /// Highest resident memory of the address space, KiB.
    pub(crate) peak_rss_kib: u64,
    /// Highest virtual memory of the address space, KiB.
    pub(crate) peak_vm_kib: u64,
}

/// Input and output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Io {
    /// Bytes read by `read(2)` and similar calls.
    pub(crate) read_chars_bytes: u64,
    /// Bytes written by `write(2)` and similar calls.
    pub(crate) write_chars_bytes: u64,
    /// The number of read system calls.
    pub read_syscalls: u64,
    /// The number of write system calls.
    pub(crate) write_syscalls: u64,
    /// Bytes read from storage.
    pub(crate) read_bytes: u64,
    /// Bytes written to storage, immediately or later.
    pub(crate) write_bytes: u64,
    /// Bytes of `write_bytes` that truncation made unnecessary.
    pub(crate) cancelled_write_bytes: u64,
}

/// Context switches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ContextSwitches {
    /// Switches because the task waited.
    pub voluntary: u64,
    /// Switches because the task was pre-empted.
    pub(crate) involuntary: u64,
}

/// A resource that tasks wait for, in the order of the kernel's v16 struct.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DelayClass {
    /// A CPU, while runnable.
    Cpu,
    /// Synchronous block I/O.
    BlockIo,
    /// Pages to be swapped in.
    SwapIn,
    /// Memory reclaim.
    Reclaim,
    /// Pages that had been evicted recently.
    Thrashing,
    /// Memory compaction.
    Compaction,
    /// Pages to be copied on a write.
    WriteProtectCopy,
    /// Interrupts.
    Irq,
}

impl DelayClass {
    /// The number of classes.
    pub const COUNT: usize = 8;

    /// All classes, in order.
    pub const ALL: [Self; Self::COUNT] = [
        Self::Cpu,
        Self::BlockIo,
        Self::SwapIn,
        Self::Reclaim,
        Self::Thrashing,
        Self::Compaction,
        Self::WriteProtectCopy,
        Self::Irq,
    ];
}

/// The waits of one class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Delay {
    /// The number of waits.
    pub count: u64,
    /// The total duration, ns.
    pub total_ns: u64,
    /// The longest and the shortest wait. `None` if the version lacks them, if there was no wait,
    /// and in a group's record, where the kernel leaves those of an arbitrary thread.
    pub extremes: Option<Extremes>,
}

/// The longest and the shortest wait of a class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extremes {
    /// The longest wait, ns.
    pub(crate) max_ns: u64,
    /// The shortest wait, ns.
    pub(crate) min_ns: u64,
    /// The end of the longest wait, since the Unix epoch.
    pub max_at: Option<Duration>,
}

/// The file that a task executes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Executable {
    /// Device of its file system.
    pub(crate) device: u64,
    /// Its inode.
    pub(crate) inode: u64,
}
