//! The statistics of invented tasks. They are functions of a task's seed and age, so that they need
//! no storage, and repeated queries see them grow.

use std::time::Duration;

use super::random::mix;
use crate::taskstats::{
    Comm, ContextSwitches, CpuTime, Delay, DelayClass, Executable, Extremes, Faults, Identity, Io,
    Memory, Stats, TaskIdentity,
};

/// The attributes of the tasks of one program.
#[derive(Clone, Copy, Debug)]
pub(super) struct Program {
    name: &'static [u8],
    uid: u32,
    nice: i8,
    scheduler: u8,
    /// The inode of the file; 0 for a kernel thread, which has none.
    inode: u64,
}

/// The programs of the simulated machine. One name is not valid UTF-8, as on real machines.
pub(super) const PROGRAMS: [Program; 8] = [
    Program { name: b"init", uid: 0, nice: 0, scheduler: 0, inode: 1001 },
    Program { name: b"sh", uid: 1000, nice: 0, scheduler: 0, inode: 1002 },
    Program { name: b"nginx", uid: 33, nice: 0, scheduler: 0, inode: 1003 },
    Program { name: b"postgres", uid: 110, nice: 0, scheduler: 0, inode: 1004 },
    Program { name: b"cc1plus", uid: 1001, nice: 10, scheduler: 3, inode: 1005 },
    Program { name: b"backup-\xe9t\xe9", uid: 34, nice: 19, scheduler: 5, inode: 1006 },
    Program { name: b"kworker/u8:1", uid: 0, nice: 0, scheduler: 0, inode: 0 },
    Program { name: b"java", uid: 1002, nice: -5, scheduler: 0, inode: 1007 },
];

/// The device of all files.
const DEVICE: u64 = 0xfd01;
/// The shift that leaves 16 bits of a number.
const SHARE_BITS: u32 = 48;
/// The kernel clears the low bits of I/O statistics (`xacct_add_tsk` in `kernel/tsacct.c`).
const IO_GRANULARITY: u64 = 1024;
/// The version since which times and context switches of exited tasks are summed.
const EXITED_TIMES_SINCE: u16 = 14;
/// Nanoseconds in a microsecond.
const NS: u64 = 1000;

/// The identity and age of a task.
#[derive(Clone, Copy, Debug)]
pub(super) struct TaskState {
    pub(super) pid: u32,
    pub(super) tgid: u32,
    pub(super) seed: u64,
    pub(super) program: Program,
    /// The start time, since the Unix epoch.
    pub(super) started_at: Duration,
    /// The ages of the task and of its group, µs.
    pub(super) age_us: u64,
    pub(super) group_age_us: u64,
    pub(super) version: u16,
    /// Set if the task has delay counters beside those of the scheduler.
    pub(super) delay_accounting: bool,
}

/// The sums over a group's tasks: its exited ones (`signal->stats` in `kernel/taskstats.c`) and, in
/// a query, the live ones.
#[derive(Clone, Debug, Default)]
pub(super) struct GroupTotals {
    run_real_ns: u64,
    run_virtual_ns: u64,
    delays: [(u64, u64); DelayClass::COUNT],
    times: Times,
}

/// Sums over live tasks in every version (`fill_stats_for_tgid`), and over exited ones in later
/// versions.
#[derive(Clone, Copy, Debug, Default)]
struct Times {
    elapsed_us: u64,
    user_us: u64,
    system_us: u64,
    switches: ContextSwitches,
}

impl TaskState {
    /// Returns the statistics of the task.
    pub(super) fn stats(&self) -> Stats {
        let (user_us, system_us) = self.cpu_us();
        let run_real_ns = (user_us + system_us) * NS;
        let is_kernel_thread = self.program.inode == 0;
        Stats {
            version: self.version,
            identity: self.identity(),
            exit_status: None,
            cpu: CpuTime {
                user_us: Some(user_us),
                system_us: Some(system_us),
                user_scaled_us: Some(user_us),
                system_scaled_us: Some(system_us),
                run_real_ns: Some(run_real_ns),
                run_virtual_ns: Some(run_real_ns + self.part(2) % NS),
                run_real_scaled_ns: Some(run_real_ns),
            },
            elapsed_us: Some(self.age_us),
            group_elapsed_us: Some(self.group_age_us),
            faults: Some(Faults {
                minor: 40 + self.share_of(self.age_us, 3) / 64,
                major: self.part(4) % 4,
            }),
            memory: Some(self.memory(user_us + system_us)),
            io: Some(self.io()),
            context_switches: Some(self.switches()),
            delays: std::array::from_fn(|class| Some(self.delay(class))),
            executable: (!is_kernel_thread)
                .then_some(Executable { device: DEVICE, inode: self.program.inode }),
            unknown_tail: Vec::new(),
        }
    }

    fn identity(&self) -> Identity {
        let mut comm = [0; Comm::CAPACITY];
        comm[..self.program.name.len()].copy_from_slice(self.program.name);
        let task = TaskIdentity {
            ppid: u32::from(self.pid != 1),
            uid: self.program.uid,
            gid: self.program.uid,
            comm: Comm::new(&comm),
            nice: self.program.nice,
            scheduler: self.program.scheduler,
            flags: 0,
            begin_time_s: i64::try_from(self.started_at.as_secs()).unwrap_or(i64::MAX),
        };
        Identity { pid: Some(self.pid), tgid: Some(self.tgid), task: Some(task) }
    }

    fn cpu_us(&self) -> (u64, u64) {
        (self.share_of(self.age_us, 0) / 4, self.share_of(self.age_us, 1) / 8)
    }

    fn memory(&self, cpu_us: u64) -> Memory {
        let peak_rss_kib = if self.program.inode == 0 { 0 } else { 1500 + self.part(5) };
        Memory {
            rss_integral_mb_us: cpu_us / 1024 * peak_rss_kib,
            vm_integral_mb_us: cpu_us / 1024 * peak_rss_kib * 3,
            peak_rss_kib,
            peak_vm_kib: peak_rss_kib * 3,
        }
    }

    fn io(&self) -> Io {
        let bytes = |n| self.share_of(self.age_us, n) / IO_GRANULARITY * IO_GRANULARITY;
        Io {
            read_chars_bytes: bytes(6) * 2,
            write_chars_bytes: bytes(7),
            read_syscalls: bytes(8),
            write_syscalls: bytes(9),
            read_bytes: bytes(6),
            write_bytes: bytes(7),
            cancelled_write_bytes: 0,
        }
    }

    fn switches(&self) -> ContextSwitches {
        ContextSwitches {
            voluntary: 1 + self.share_of(self.age_us, 10) / 512,
            involuntary: self.share_of(self.age_us, 11) / 4096,
        }
    }

    /// The scheduler counts waits for a CPU even if delay accounting is off.
    fn delay(&self, class: usize) -> Delay {
        if class != 0 && !self.delay_accounting {
            return Delay::default();
        }
        let count = self.share_of(self.age_us, 12 + class as u64) / 1024;
        let mean_ns = 500 + self.part(20 + class as u64);
        let total_ns = count * mean_ns;
        let extremes = (count > 0).then(|| Extremes {
            max_ns: total_ns.min(mean_ns * 3),
            min_ns: mean_ns / 3,
            max_at: Some(self.started_at + Duration::from_micros(self.age_us / 2)),
        });
        Delay { count, total_ns, extremes }
    }

    /// Returns a part of `whole` that depends on the task's seed and on `n`.
    fn share_of(&self, whole: u64, n: u64) -> u64 {
        let product = u128::from(whole) * u128::from(self.part(n));
        u64::try_from(product >> (u64::BITS - SHARE_BITS)).unwrap_or(u64::MAX)
    }

    /// Returns a number of 16 bits that depends on the task's seed and on `n`.
    fn part(&self, n: u64) -> u64 {
        mix(self.seed.wrapping_add(n)) >> SHARE_BITS
    }
}

impl GroupTotals {
    /// Adds an exiting task.
    pub(super) fn add_exited(&mut self, stats: &Stats) {
        self.add_delays(stats);
        if stats.version >= EXITED_TIMES_SINCE {
            self.times.add(stats);
        }
    }

    /// Adds a live task.
    pub(super) fn add_live(&mut self, stats: &Stats) {
        self.add_delays(stats);
        self.times.add(stats);
    }

    /// Adds the statistics that the kernel sums together with delays (`delayacct_add_tsk` in
    /// `kernel/delayacct.c`).
    fn add_delays(&mut self, stats: &Stats) {
        self.run_real_ns += stats.cpu.run_real_ns.unwrap_or(0);
        self.run_virtual_ns += stats.cpu.run_virtual_ns.unwrap_or(0);
        for (total, delay) in self.delays.iter_mut().zip(stats.delays.iter().flatten()) {
            total.0 += delay.count;
            total.1 += delay.total_ns;
        }
    }

    /// Returns the record of the group.
    pub(super) fn stats(&self, tgid: u32, version: u16) -> Stats {
        let Times { elapsed_us, user_us, system_us, switches } = self.times;
        Stats {
            version,
            identity: Identity { tgid: Some(tgid), ..Identity::default() },
            cpu: CpuTime {
                user_us: Some(user_us),
                system_us: Some(system_us),
                run_real_ns: Some(self.run_real_ns),
                run_virtual_ns: Some(self.run_virtual_ns),
                run_real_scaled_ns: Some(self.run_real_ns),
                ..CpuTime::default()
            },
            elapsed_us: Some(elapsed_us),
            context_switches: Some(switches),
            delays: self
                .delays
                .map(|(count, total_ns)| Some(Delay { count, total_ns, extremes: None })),
            ..Stats::default()
        }
    }
}

impl Times {
    fn add(&mut self, stats: &Stats) {
        let switches = stats.context_switches.unwrap_or_default();
        self.elapsed_us += stats.elapsed_us.unwrap_or(0);
        self.user_us += stats.cpu.user_us.unwrap_or(0);
        self.system_us += stats.cpu.system_us.unwrap_or(0);
        self.switches.voluntary += switches.voluntary;
        self.switches.involuntary += switches.involuntary;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(age_us: u64) -> TaskState {
        TaskState {
            pid: 7,
            tgid: 7,
            seed: 99,
            program: PROGRAMS[2],
            started_at: Duration::from_secs(1_700_000_000),
            age_us,
            group_age_us: age_us,
            version: 17,
            delay_accounting: true,
        }
    }

    #[test]
    fn statistics_grow_with_age_and_are_reproducible() {
        let ages = [0, 1, 1000, 1_000_000, 3600 * 1_000_000, u64::MAX >> 20];
        let mut before = 0;
        for age in ages {
            let stats = state(age).stats();
            assert_eq!(stats, state(age).stats());
            let sum = stats.cpu.run_real_ns.unwrap() + stats.io.unwrap().read_bytes;
            assert!(sum >= before, "{stats:?}");
            assert!(stats.cpu.run_real_ns.unwrap() <= age * NS, "not more CPU than time");
            before = sum;
        }
        assert!(before > 0);
    }

    #[test]
    fn only_cpu_waits_are_counted_if_accounting_is_off() {
        let off = TaskState { delay_accounting: false, ..state(1_000_000_000) };
        let delays = off.stats().delays.map(Option::unwrap);
        assert!(delays[0].count > 0);
        assert!(delays[1..].iter().all(|delay| *delay == Delay::default()));
    }
}
