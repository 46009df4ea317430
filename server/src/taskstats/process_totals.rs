//! Sums over the threads of a process.

use super::stats::{
    ContextSwitches, CpuTime, Delay, DelayClass, Extremes, Faults, Io, Memory, Stats,
};

/// The statistics of some threads of one process, added up.
///
/// A field is `None` if no thread's record has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProcessTotals {
    /// CPU time.
    pub cpu: CpuTime,
    /// Page faults.
    pub faults: Option<Faults>,
    /// Memory use: the integrals are sums, the peaks are the highest of all threads.
    pub memory: Option<Memory>,
    /// Input and output.
    pub io: Option<Io>,
    /// Context switches.
    pub context_switches: Option<ContextSwitches>,
    /// Time spent waiting, indexed by [`DelayClass`]: counts and totals are sums, extremes are those of
    /// all threads.
    pub delays: [Option<Delay>; DelayClass::COUNT],
    /// The number of threads.
    pub threads: u32,
    /// Whether these are all threads that the process ever had.
    pub complete: bool,
}

impl ProcessTotals {
    /// Adds the final statistics of one more thread.
    pub(crate) fn add(&mut self, thread: &Stats) {
        self.threads = self.threads.saturating_add(1);
        add_cpu(&mut self.cpu, &thread.cpu);
        merge(&mut self.faults, thread.faults, add_faults);
        merge(&mut self.memory, thread.memory, add_memory);
        merge(&mut self.io, thread.io, add_io);
        merge(&mut self.context_switches, thread.context_switches, add_switches);
        for (sum, delay) in self.delays.iter_mut().zip(thread.delays) {
            merge(sum, delay, add_delay);
        }
    }

    /// Sets [`ProcessTotals::complete`] by the kernel's record of the group.
    ///
    /// The kernel adds the number of times that a thread was put on a CPU to the record of its group
    /// when the thread exits (`fill_tgid_exit` in `kernel/taskstats.c`), for every thread, watched or
    /// not. Each thread was put on a CPU once at least, so the sums are equal if and only if no
    /// thread is missing here.
    pub(crate) fn compare(&mut self, process: &Stats) {
        let count = |delays: &[Option<Delay>]| delays[DelayClass::Cpu as usize].map(|it| it.count);
        let seen = count(&self.delays);
        self.complete = seen.is_some() && seen == count(&process.delays);
    }
}

/// Adds a value that some records lack.
fn merge<T>(sum: &mut Option<T>, value: Option<T>, add: impl FnOnce(&mut T, T)) {
    match (sum.as_mut(), value) {
        (Some(sum), Some(value)) => add(sum, value),
        (None, Some(value)) => *sum = Some(value),
        (_, None) => {}
    }
}

/// The kernel's numbers are 64 bits wide and wrap only after centuries.
fn add_number(sum: &mut u64, value: u64) {
    *sum = sum.saturating_add(value);
}

fn add_cpu(sum: &mut CpuTime, value: &CpuTime) {
    let CpuTime {
        user_us,
        system_us,
        user_scaled_us,
        system_scaled_us,
        run_real_ns,
        run_virtual_ns,
        run_real_scaled_ns,
    } = sum;
    merge(user_us, value.user_us, add_number);
    merge(system_us, value.system_us, add_number);
    merge(user_scaled_us, value.user_scaled_us, add_number);
    merge(system_scaled_us, value.system_scaled_us, add_number);
    merge(run_real_ns, value.run_real_ns, add_number);
    merge(run_virtual_ns, value.run_virtual_ns, add_number);
    merge(run_real_scaled_ns, value.run_real_scaled_ns, add_number);
}

fn add_faults(sum: &mut Faults, value: Faults) {
    let Faults { minor, major } = sum;
    add_number(minor, value.minor);
    add_number(major, value.major);
}

fn add_memory(sum: &mut Memory, value: Memory) {
    let Memory { rss_integral_mb_us, vm_integral_mb_us, peak_rss_kib, peak_vm_kib } = sum;
    add_number(rss_integral_mb_us, value.rss_integral_mb_us);
    add_number(vm_integral_mb_us, value.vm_integral_mb_us);
    *peak_rss_kib = value.peak_rss_kib.max(*peak_rss_kib);
    *peak_vm_kib = value.peak_vm_kib.max(*peak_vm_kib);
}

fn add_io(sum: &mut Io, value: Io) {
    let Io {
        read_chars_bytes,
        write_chars_bytes,
        read_syscalls,
        write_syscalls,
        read_bytes,
        write_bytes,
        cancelled_write_bytes,
    } = sum;
    add_number(read_chars_bytes, value.read_chars_bytes);
    add_number(write_chars_bytes, value.write_chars_bytes);
    add_number(read_syscalls, value.read_syscalls);
    add_number(write_syscalls, value.write_syscalls);
    add_number(read_bytes, value.read_bytes);
    add_number(write_bytes, value.write_bytes);
    add_number(cancelled_write_bytes, value.cancelled_write_bytes);
}

fn add_switches(sum: &mut ContextSwitches, value: ContextSwitches) {
    let ContextSwitches { voluntary, involuntary } = sum;
    add_number(voluntary, value.voluntary);
    add_number(involuntary, value.involuntary);
}

fn add_delay(sum: &mut Delay, value: Delay) {
    let Delay { count, total_ns, extremes } = sum;
    add_number(count, value.count);
    add_number(total_ns, value.total_ns);
    merge(extremes, value.extremes, |sum: &mut Extremes, value| {
        sum.min_ns = value.min_ns.min(sum.min_ns);
        if value.max_ns > sum.max_ns {
            (sum.max_ns, sum.max_at) = (value.max_ns, value.max_at);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delay(count: u64, min_ns: u64, max_ns: u64) -> Delay {
        let extremes = (count > 0).then_some(Extremes { max_ns, min_ns, max_at: None });
        Delay { count, total_ns: count * max_ns, extremes }
    }

    fn thread(user_us: u64, peak_rss_kib: u64, cpu: Delay) -> Stats {
        let mut stats = Stats {
            cpu: CpuTime { user_us: Some(user_us), ..CpuTime::default() },
            memory: Some(Memory { peak_rss_kib, rss_integral_mb_us: 7, ..Memory::default() }),
            ..Stats::default()
        };
        stats.delays[DelayClass::Cpu as usize] = Some(cpu);
        stats
    }

    #[test]
    fn counts_are_added_and_extremes_are_those_of_all_threads() {
        let mut totals = ProcessTotals::default();
        totals.add(&thread(10, 300, delay(2, 4, 9)));
        totals.add(&thread(5, 200, delay(0, 0, 0)));
        totals.add(&thread(1, 500, delay(3, 1, 6)));
        assert_eq!(totals.threads, 3);
        assert_eq!(totals.cpu.user_us, Some(16));
        assert_eq!(totals.cpu.system_us, None);
        let memory = totals.memory.unwrap();
        assert_eq!((memory.peak_rss_kib, memory.rss_integral_mb_us), (500, 21));
        let cpu = totals.delays[DelayClass::Cpu as usize].unwrap();
        assert_eq!((cpu.count, cpu.total_ns), (5, 36));
        assert_eq!(cpu.extremes, Some(Extremes { max_ns: 9, min_ns: 1, max_at: None }));
    }

    #[test]
    fn totals_are_complete_if_the_group_was_on_a_cpu_as_often_as_the_threads() {
        let mut totals = ProcessTotals::default();
        totals.add(&thread(0, 0, delay(2, 1, 1)));
        for (count, complete) in [(1, false), (2, true), (3, false)] {
            totals.compare(&thread(0, 0, delay(count, 0, 0)));
            assert_eq!(totals.complete, complete, "{count}");
        }
        totals.compare(&Stats::default());
        assert!(!totals.complete, "a record without the count proves nothing");
    }
}
