//! The account of one task or group, in the kernel's units, with absence told from zero.

use std::time::Duration;

/// One decoded `struct taskstats`.
///
/// What a kernel version does not report, or what a group's record does not mean, is `None`.
/// Source of every field: the kernel's `include/uapi/linux/taskstats.h`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// The kernel's struct version.
    pub version: u16,
    /// Who the task is.
    pub identity: Identity,
    /// wait(2) status; `None` while the task lives and in a group's record.
    pub exit_status: Option<u32>,
    /// CPU time used.
    pub cpu: CpuTime,
    /// Wall time of the task, µs.
    pub elapsed_us: Option<u64>,
    /// Wall time of the task's group, µs.
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
    /// Bytes beyond the struct of this version, as far as this build knows it.
    pub unknown_tail: Vec<u8>,
}

/// Who a task is. In a group's record only the id that was asked for is set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// Task (thread) id.
    pub pid: Option<u32>,
    /// Process (thread group) id.
    pub tgid: Option<u32>,
    /// What the kernel tells of a single task, but not of a group.
    pub task: Option<TaskIdentity>,
}

/// What identifies a task beyond its ids.
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
    /// When the task began, seconds since 1970.
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
    pub const CAPACITY: usize = 32;

    /// Takes the bytes up to the first NUL.
    #[must_use]
    pub fn new(field: &[u8; Self::CAPACITY]) -> Self {
        const LOWEST_BITS: u64 = 0x0101_0101_0101_0101;
        const HIGHEST_BITS: u64 = 0x8080_8080_8080_8080;
        let mut comm = Self::default();
        // 8 bytes at a time, because this is done for every exit.
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

    /// The name as the kernel has it; not always UTF-8.
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
    pub user_scaled_us: Option<u64>,
    /// System time scaled by CPU frequency, µs.
    pub system_scaled_us: Option<u64>,
    /// User and system time, ns.
    pub run_real_ns: Option<u64>,
    /// Time on a CPU as the scheduler measured it, ns.
    pub run_virtual_ns: Option<u64>,
    /// `run_real_ns` scaled by CPU frequency, ns.
    pub run_real_scaled_ns: Option<u64>,
}

/// Page faults.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// Without storage I/O.
    pub minor: u64,
    /// With storage I/O.
    pub major: u64,
}

/// Memory use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// Resident memory over CPU time, MB·µs.
    pub rss_integral_mb_us: u64,
    /// Virtual memory over CPU time, MB·µs.
    pub vm_integral_mb_us: u64,
    /// Highest resident memory of the address space, KiB.
    pub peak_rss_kib: u64,
    /// Highest virtual memory of the address space, KiB.
    pub peak_vm_kib: u64,
}

/// Input and output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Io {
    /// Bytes through read(2) and its kin.
    pub read_chars_bytes: u64,
    /// Bytes through write(2) and its kin.
    pub write_chars_bytes: u64,
    /// Read system calls.
    pub read_syscalls: u64,
    /// Write system calls.
    pub write_syscalls: u64,
    /// Bytes read from storage.
    pub read_bytes: u64,
    /// Bytes written to storage, now or later.
    pub write_bytes: u64,
    /// Bytes of `write_bytes` that truncation made unnecessary.
    pub cancelled_write_bytes: u64,
}

/// Context switches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ContextSwitches {
    /// Because the task waited.
    pub voluntary: u64,
    /// Because it was pre-empted.
    pub involuntary: u64,
}

/// What a task can wait for. The order is that of the kernel's v16 struct.
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
    /// Pages that had been evicted shortly before.
    Thrashing,
    /// Memory compaction.
    Compaction,
    /// Pages to be copied on a write.
    WriteProtectCopy,
    /// Interrupts.
    Irq,
}

impl DelayClass {
    /// Number of classes.
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

/// One class of waiting.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Delay {
    /// How often.
    pub count: u64,
    /// How long in all, ns.
    pub total_ns: u64,
    /// The longest and the shortest wait; `None` where the version lacks them, in a group's record
    /// (the kernel leaves those of an arbitrary thread there) and where nothing was waited for.
    pub extremes: Option<Extremes>,
}

/// The longest and the shortest wait of a class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extremes {
    /// The longest wait, ns.
    pub max_ns: u64,
    /// The shortest wait, ns.
    pub min_ns: u64,
    /// When the longest wait ended, since 1970.
    pub max_at: Option<Duration>,
}

/// The file that a task executes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Executable {
    /// Device of its file system.
    pub device: u64,
    /// Its inode.
    pub inode: u64,
}
