//! Conversion of domain types to messages.

use std::time::Duration;

use prost_types::Timestamp;
use taskstats_proto::v1;

use crate::taskstats::{
    CpuTime, Delay, DelayAccounting, DelayClass, DelayCoverage, Identity, Stats, WaitStatus,
};

/// Converts the statistics of a task or group.
pub(crate) fn task_stats(stats: &Stats, delays_covered: DelayCoverage) -> v1::TaskStats {
    v1::TaskStats {
        taskstats_version: stats.version.into(),
        identity: Some(identity(&stats.identity)),
        exit: stats.exit_status.map(|raw| exit_status(WaitStatus(raw))),
        cpu: Some(cpu_time(&stats.cpu)),
        elapsed_us: stats.elapsed_us,
        group_elapsed_us: stats.group_elapsed_us,
        faults: stats.faults.map(|faults| v1::Faults { minor: faults.minor, major: faults.major }),
        memory: memory(stats),
        io: io(stats),
        context_switches: context_switches(stats),
        delays: Some(delays(stats)),
        delay_accounting: coverage(delays_covered).into(),
        executable: executable(stats),
        unknown_tail: stats.unknown_tail.clone().into(),
    }
}

/// Converts a time since 1970.
pub(crate) fn timestamp(since_1970: Duration) -> Timestamp {
    Timestamp {
        seconds: since_1970.as_secs().cast_signed(),
        nanos: since_1970.subsec_nanos().cast_signed(),
    }
}

/// Converts the state of delay accounting.
pub(crate) const fn accounting(accounting: DelayAccounting) -> v1::DelayAccounting {
    match accounting {
        DelayAccounting::On(_) => v1::DelayAccounting::On,
        DelayAccounting::Off => v1::DelayAccounting::Off,
        DelayAccounting::Unknown => v1::DelayAccounting::Unknown,
    }
}

const fn coverage(coverage: DelayCoverage) -> v1::DelayAccounting {
    match coverage {
        DelayCoverage::On => v1::DelayAccounting::On,
        DelayCoverage::Off => v1::DelayAccounting::Off,
        DelayCoverage::Partial => v1::DelayAccounting::Partial,
        DelayCoverage::Unknown => v1::DelayAccounting::Unknown,
    }
}

fn identity(identity: &Identity) -> v1::Identity {
    let ids = v1::Identity { pid: identity.pid, tgid: identity.tgid, ..v1::Identity::default() };
    let Some(task) = &identity.task else { return ids };
    v1::Identity {
        ppid: Some(task.ppid),
        uid: Some(task.uid),
        gid: Some(task.gid),
        comm: Some(String::from_utf8_lossy(task.comm.as_bytes()).into_owned()),
        nice: Some(task.nice.into()),
        scheduler: Some(task.scheduler.into()),
        flags: Some(task.flags.into()),
        begin_time: Some(Timestamp { seconds: task.begin_time_s, nanos: 0 }),
        ..ids
    }
}

fn exit_status(status: WaitStatus) -> v1::ExitStatus {
    v1::ExitStatus {
        raw_status: status.0,
        code: status.code(),
        signal: status.signal(),
        core_dumped: status.core_dumped(),
    }
}

fn cpu_time(cpu: &CpuTime) -> v1::CpuTime {
    v1::CpuTime {
        user_us: cpu.user_us,
        system_us: cpu.system_us,
        user_scaled_us: cpu.user_scaled_us,
        system_scaled_us: cpu.system_scaled_us,
        run_real_ns: cpu.run_real_ns,
        run_virtual_ns: cpu.run_virtual_ns,
        run_real_scaled_ns: cpu.run_real_scaled_ns,
    }
}

fn memory(stats: &Stats) -> Option<v1::Memory> {
    stats.memory.map(|memory| v1::Memory {
        rss_integral_mb_us: memory.rss_integral_mb_us,
        vm_integral_mb_us: memory.vm_integral_mb_us,
        peak_rss_kib: memory.peak_rss_kib,
        peak_vm_kib: memory.peak_vm_kib,
    })
}

fn io(stats: &Stats) -> Option<v1::Io> {
    stats.io.map(|io| v1::Io {
        read_chars_bytes: io.read_chars_bytes,
        write_chars_bytes: io.write_chars_bytes,
        read_syscalls: io.read_syscalls,
        write_syscalls: io.write_syscalls,
        read_bytes: io.read_bytes,
        write_bytes: io.write_bytes,
        cancelled_write_bytes: io.cancelled_write_bytes,
    })
}

fn context_switches(stats: &Stats) -> Option<v1::ContextSwitches> {
    stats.context_switches.map(|switches| v1::ContextSwitches {
        voluntary: switches.voluntary,
        involuntary: switches.involuntary,
    })
}

fn executable(stats: &Stats) -> Option<v1::Executable> {
    stats.executable.map(|file| v1::Executable { device: file.device, inode: file.inode })
}

fn delays(stats: &Stats) -> v1::Delays {
    let class = |class: DelayClass| stats.delays[class as usize].as_ref().map(delay);
    v1::Delays {
        cpu: class(DelayClass::Cpu),
        block_io: class(DelayClass::BlockIo),
        swap_in: class(DelayClass::SwapIn),
        reclaim: class(DelayClass::Reclaim),
        thrashing: class(DelayClass::Thrashing),
        compaction: class(DelayClass::Compaction),
        write_protect_copy: class(DelayClass::WriteProtectCopy),
        irq: class(DelayClass::Irq),
    }
}

fn delay(delay: &Delay) -> v1::Delay {
    v1::Delay {
        count: delay.count,
        total_ns: delay.total_ns,
        max_ns: delay.extremes.map(|extremes| extremes.max_ns),
        min_ns: delay.extremes.map(|extremes| extremes.min_ns),
        max_at: delay.extremes.and_then(|extremes| extremes.max_at).map(timestamp),
    }
}

#[cfg(test)]
mod tests;
