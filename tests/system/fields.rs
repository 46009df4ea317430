//! Compares the served account of a live task with the kernel's own records, field by field.

use anyhow::{Context, Result};
use taskstats_proto::v1::{Delay, DelayAccounting, Delays, TaskStats};
use taskstats_tests::kernel::{Record, offset};

/// Delay classes have maxima and minima since this version; `offset` knows their place since 16.
const EXTREMES_SINCE: u32 = 16;
/// Distance of a record's u64 fields.
const U64: usize = 8;
/// Maximum and minimum of a class.
const EXTREME: usize = 2 * U64;
/// The kernel computes when a task began from two clocks, rounding each to seconds.
const BEGIN_TIME_WOBBLE: u64 = 1;

/// A field that only grows: name, served value, place in the record.
type Counter = (&'static str, Option<u64>, usize);

/// Asserts that what was served lies between two records of the same task, taken before and after.
pub(crate) fn assert_between(before: &Record, stats: &TaskStats, after: &Record) -> Result<()> {
    assert_identity(before, stats)?;
    assert_delays(before, stats.delays.as_ref().context("no delays")?, after)?;
    let mut compared = time_counters(stats)?;
    compared.extend(memory_counters(stats)?);
    compared.extend(io_counters(stats)?);
    for (name, served, at) in compared {
        assert_grew(name, before.u64(at)?, served, after.u64(at)?);
    }
    Ok(())
}

fn assert_identity(record: &Record, stats: &TaskStats) -> Result<()> {
    let identity = stats.identity.as_ref().context("no identity")?;
    assert_eq!(stats.taskstats_version, record.version()?);
    assert_eq!(identity.pid, Some(record.u32(offset::PID)?));
    assert_eq!(identity.tgid, Some(record.u32(offset::TGID)?));
    assert_eq!(identity.ppid, Some(record.u32(offset::PPID)?));
    assert_eq!(identity.uid, Some(record.u32(offset::UID)?));
    assert_eq!(identity.gid, Some(record.u32(offset::GID)?));
    assert_eq!(identity.comm, Some(record.comm()?));
    assert_eq!(identity.nice, Some(record.u8(offset::NICE)?.cast_signed().into()));
    assert_eq!(identity.scheduler, Some(record.u8(offset::SCHED)?.into()));
    assert_eq!(identity.flags, Some(record.u8(offset::FLAG)?.into()));
    let began = u64::try_from(identity.begin_time.context("began never")?.seconds)?;
    assert!(began.abs_diff(record.u64(offset::BEGIN_TIME)?) <= BEGIN_TIME_WOBBLE, "{began}");
    let executable = stats.executable.context("executes nothing")?;
    assert_eq!(executable.device, record.u64(offset::EXECUTABLE_DEVICE)?);
    assert_eq!(executable.inode, record.u64(offset::EXECUTABLE_INODE)?);
    assert_eq!(stats.exit, None, "a task that lives has not ended");
    let accounted = match delay_accounting()? {
        // It may have been on before.
        DelayAccounting::Off => [DelayAccounting::Off, DelayAccounting::Partial],
        // The task may have begun too early to say.
        _ => [DelayAccounting::On, DelayAccounting::Unknown],
    };
    assert!(accounted.contains(&stats.delay_accounting()), "{:?}", stats.delay_accounting());
    Ok(())
}

fn time_counters(stats: &TaskStats) -> Result<Vec<Counter>> {
    let cpu = stats.cpu.context("no CPU time")?;
    let switches = stats.context_switches.context("no context switches")?;
    Ok(vec![
        ("elapsed", stats.elapsed_us, offset::ELAPSED),
        ("group elapsed", stats.group_elapsed_us, offset::GROUP_ELAPSED),
        ("user", cpu.user_us, offset::USER_TIME),
        ("system", cpu.system_us, offset::SYSTEM_TIME),
        ("user scaled", cpu.user_scaled_us, offset::USER_TIME_SCALED),
        ("system scaled", cpu.system_scaled_us, offset::SYSTEM_TIME_SCALED),
        ("run real", cpu.run_real_ns, offset::CPU_RUN_REAL),
        ("run virtual", cpu.run_virtual_ns, offset::CPU_RUN_VIRTUAL),
        ("run real scaled", cpu.run_real_scaled_ns, offset::CPU_RUN_REAL_SCALED),
        ("voluntary", Some(switches.voluntary), offset::VOLUNTARY_SWITCHES),
        ("involuntary", Some(switches.involuntary), offset::INVOLUNTARY_SWITCHES),
    ])
}

fn memory_counters(stats: &TaskStats) -> Result<Vec<Counter>> {
    let memory = stats.memory.context("no memory")?;
    let faults = stats.faults.context("no faults")?;
    Ok(vec![
        ("minor faults", Some(faults.minor), offset::MINOR_FAULTS),
        ("major faults", Some(faults.major), offset::MAJOR_FAULTS),
        ("rss integral", Some(memory.rss_integral_mb_us), offset::RSS_INTEGRAL),
        ("vm integral", Some(memory.vm_integral_mb_us), offset::VM_INTEGRAL),
        ("peak rss", Some(memory.peak_rss_kib), offset::PEAK_RSS),
        ("peak vm", Some(memory.peak_vm_kib), offset::PEAK_VM),
    ])
}

fn io_counters(stats: &TaskStats) -> Result<Vec<Counter>> {
    let io = stats.io.context("no io")?;
    Ok(vec![
        ("read chars", Some(io.read_chars_bytes), offset::READ_CHARS),
        ("write chars", Some(io.write_chars_bytes), offset::WRITE_CHARS),
        ("read syscalls", Some(io.read_syscalls), offset::READ_SYSCALLS),
        ("write syscalls", Some(io.write_syscalls), offset::WRITE_SYSCALLS),
        ("read bytes", Some(io.read_bytes), offset::READ_BYTES),
        ("write bytes", Some(io.write_bytes), offset::WRITE_BYTES),
        ("cancelled", Some(io.cancelled_write_bytes), offset::CANCELLED_WRITE_BYTES),
    ])
}

fn assert_delays(before: &Record, delays: &Delays, after: &Record) -> Result<()> {
    for (class, (delay, at)) in classes(delays).into_iter().zip(offset::DELAYS).enumerate() {
        let delay = delay.with_context(|| format!("delay class {class} is absent"))?;
        let name = format!("delay class {class}");
        assert_grew(&name, before.u64(at)?, Some(delay.count), after.u64(at)?);
        assert_grew(&name, before.u64(at + U64)?, Some(delay.total_ns), after.u64(at + U64)?);
        let has_extremes = before.version()? >= EXTREMES_SINCE && delay.count > 0;
        assert_eq!(delay.max_ns.is_some(), has_extremes, "{name}: {delay:?}");
        assert_eq!(delay.min_ns.is_some(), has_extremes, "{name}: {delay:?}");
        let place = offset::DELAY_EXTREMES + class * EXTREME;
        if has_extremes {
            assert_grew(&name, before.u64(place)?, delay.max_ns, after.u64(place)?);
            assert_shrank(&name, before.u64(place + U64)?, delay.min_ns, after.u64(place + U64)?);
        }
    }
    Ok(())
}

fn classes(delays: &Delays) -> [Option<Delay>; 8] {
    [
        delays.cpu,
        delays.block_io,
        delays.swap_in,
        delays.reclaim,
        delays.thrashing,
        delays.compaction,
        delays.write_protect_copy,
        delays.irq,
    ]
}

fn assert_grew(name: &str, before: u64, served: Option<u64>, after: u64) {
    let between = served.is_some_and(|served| (before..=after).contains(&served));
    assert!(between, "{name}: the kernel said {before}, then {after}; served was {served:?}");
}

fn assert_shrank(name: &str, before: u64, served: Option<u64>, after: u64) {
    // The first wait sets the minimum, which is 0 as long as there was none.
    let upper = if before == 0 { u64::MAX } else { before };
    let between = served.is_some_and(|served| (after..=upper).contains(&served));
    assert!(between, "{name}: the kernel said {before}, then {after}; served was {served:?}");
}

/// What the kernel's switch says.
pub(crate) fn delay_accounting() -> Result<DelayAccounting> {
    let switch = std::fs::read_to_string("/proc/sys/kernel/task_delayacct")?;
    Ok(if switch.trim() == "0" { DelayAccounting::Off } else { DelayAccounting::On })
}
