//! Encodes [`Stats`] as `struct taskstats`: the inverse of [`decode`](crate::taskstats::decode), by
//! the same table of offsets.

use crate::taskstats::layout::{Layout, offset, size_of_version};
use crate::taskstats::{CpuTime, Delay, Io, Stats, TaskIdentity};

/// Appends one `struct taskstats`, in host byte order, with the layout and the length of the
/// version in `stats`. Fields that the version lacks are omitted; an absent field is 0, as in the
/// kernel. The unknown tail follows the struct.
pub(super) fn encode_record(stats: &Stats, bytes: &mut Vec<u8>) {
    let start = bytes.len();
    bytes.resize(start + size_of_version(stats.version), 0);
    let layout = Layout::of_version(stats.version);
    RecordEncoder { bytes: &mut bytes[start..], layout }.stats(stats);
    bytes.extend_from_slice(&stats.unknown_tail);
}

/// Writes the fields of one record.
struct RecordEncoder<'a> {
    bytes: &'a mut [u8],
    layout: Layout,
}

impl RecordEncoder<'_> {
    fn stats(&mut self, stats: &Stats) {
        self.put(offset::VERSION, stats.version.to_ne_bytes());
        self.put(offset::EXIT_CODE, stats.exit_status.unwrap_or(0).to_ne_bytes());
        if let Some(task) = &stats.identity.task {
            self.task(task);
            // A group's record has no ids, as in the kernel.
            self.put(offset::PID, stats.identity.pid.unwrap_or(0).to_ne_bytes());
            self.put(offset::TGID, stats.identity.tgid.unwrap_or(0).to_ne_bytes());
        }
        self.cpu(&stats.cpu);
        self.u64(offset::ETIME, stats.elapsed_us);
        self.u64(offset::TGETIME, stats.group_elapsed_us);
        self.usage(stats);
        for (class, delay) in stats.delays.iter().enumerate() {
            if let Some(delay) = delay {
                self.delay(class, delay);
            }
        }
    }

    fn task(&mut self, task: &TaskIdentity) {
        let begin = u64::try_from(task.begin_time_s).unwrap_or(0);
        self.put(offset::FLAG, [task.flags]);
        self.put(offset::NICE, task.nice.to_ne_bytes());
        self.bytes_at(offset::COMM, task.comm.as_bytes());
        self.put(offset::SCHED, [task.scheduler]);
        self.put(offset::UID, task.uid.to_ne_bytes());
        self.put(offset::GID, task.gid.to_ne_bytes());
        self.put(offset::PPID, task.ppid.to_ne_bytes());
        // The narrow field saturates, as in the kernel (`bacct_add_tsk`).
        self.put(offset::BTIME, u32::try_from(begin).unwrap_or(u32::MAX).to_ne_bytes());
        self.u64(offset::BTIME64, Some(begin));
    }

    fn cpu(&mut self, cpu: &CpuTime) {
        self.u64(offset::UTIME, cpu.user_us);
        self.u64(offset::STIME, cpu.system_us);
        self.u64(offset::UTIME_SCALED, cpu.user_scaled_us);
        self.u64(offset::STIME_SCALED, cpu.system_scaled_us);
        self.u64(offset::CPU_RUN_REAL, cpu.run_real_ns);
        self.u64(offset::CPU_RUN_VIRTUAL, cpu.run_virtual_ns);
        self.u64(offset::CPU_SCALED_RUN_REAL, cpu.run_real_scaled_ns);
    }

    fn usage(&mut self, stats: &Stats) {
        if let Some(faults) = stats.faults {
            self.u64(offset::MINFLT, Some(faults.minor));
            self.u64(offset::MAJFLT, Some(faults.major));
        }
        if let Some(memory) = stats.memory {
            self.u64(offset::COREMEM, Some(memory.rss_integral_mb_us));
            self.u64(offset::VIRTMEM, Some(memory.vm_integral_mb_us));
            self.u64(offset::HIWATER_RSS, Some(memory.peak_rss_kib));
            self.u64(offset::HIWATER_VM, Some(memory.peak_vm_kib));
        }
        if let Some(io) = &stats.io {
            self.io(io);
        }
        if let Some(switches) = stats.context_switches {
            self.u64(offset::NVCSW, Some(switches.voluntary));
            self.u64(offset::NIVCSW, Some(switches.involuntary));
        }
        if let Some(executable) = stats.executable {
            self.u64(offset::EXE_DEV, Some(executable.device));
            self.u64(offset::EXE_INODE, Some(executable.inode));
        }
    }

    fn io(&mut self, io: &Io) {
        self.u64(offset::READ_CHAR, Some(io.read_chars_bytes));
        self.u64(offset::WRITE_CHAR, Some(io.write_chars_bytes));
        self.u64(offset::READ_SYSCALLS, Some(io.read_syscalls));
        self.u64(offset::WRITE_SYSCALLS, Some(io.write_syscalls));
        self.u64(offset::READ_BYTES, Some(io.read_bytes));
        self.u64(offset::WRITE_BYTES, Some(io.write_bytes));
        self.u64(offset::CANCELLED_WRITE_BYTES, Some(io.cancelled_write_bytes));
    }

    fn delay(&mut self, class: usize, delay: &Delay) {
        let offsets = self.layout.delay(class);
        self.u64_at(offsets.count, delay.count);
        self.u64_at(offsets.total, delay.total_ns);
        let Some(extremes) = delay.extremes else { return };
        self.u64_at(offsets.max, extremes.max_ns);
        self.u64_at(offsets.min, extremes.min_ns);
        if let Some(max_at) = extremes.max_at {
            self.u64_at(offsets.max_at_seconds, max_at.as_secs());
            self.u64_at(offsets.max_at_nanoseconds, max_at.subsec_nanos().into());
        }
    }

    fn u64(&mut self, offset: usize, value: Option<u64>) {
        self.put(offset, value.unwrap_or(0).to_ne_bytes());
    }

    fn put<const LENGTH: usize>(&mut self, offset: usize, field: [u8; LENGTH]) {
        self.bytes_at(offset, &field);
    }

    fn bytes_at(&mut self, offset: usize, field: &[u8]) {
        write(self.bytes, self.layout.offset(offset), field);
    }

    /// Writes at an offset of this record's layout.
    fn u64_at(&mut self, offset: usize, value: u64) {
        write(self.bytes, offset, &value.to_ne_bytes());
    }
}

/// Writes a field if the struct has it.
fn write(bytes: &mut [u8], offset: usize, field: &[u8]) {
    if let Some(target) = bytes.get_mut(offset..offset + field.len()) {
        target.copy_from_slice(field);
    }
}

#[cfg(test)]
mod tests;
