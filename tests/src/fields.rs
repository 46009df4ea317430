//! Compares statistics that the agent serves with the kernel's own records, field by field, on any
//! kernel version: fields that the version has must be present and equal, others must be absent.

use std::collections::BTreeSet;
use std::fmt::Debug;

use anyhow::{Context, Result, bail, ensure};
use taskstats_proto::v1::{Delay, Identity, TaskStats};

use crate::kernel::{Record, offset};

/// Since when there is a process' id, its elapsed time, and the executable.
const GROUP_FIELDS_SINCE: u32 = 12;
/// Since when there is each class of delay, in the order of [`offset::DELAYS`].
const CLASSES_SINCE: [u32; 8] = [1, 1, 1, 7, 9, 11, 13, 14];
/// Names of the classes.
const CLASSES: [&str; 8] = [
    "cpu delay",
    "block I/O delay",
    "swap-in delay",
    "reclaim delay",
    "thrashing delay",
    "compaction delay",
    "write-protect copy delay",
    "irq delay",
];
/// The version since which delay classes have maxima and minima, at [`offset::DELAY_EXTREMES`].
const EXTREMES_SINCE: u32 = 16;
/// The version since which the kernel reports the time of each maximum.
const MAX_AT_SINCE: u32 = 17;
/// Distance of a record's u64 fields.
const U64: usize = 8;
/// Maximum and minimum of a class, or seconds and nanoseconds of a timestamp.
const PAIR: usize = 2 * U64;
const NANOSECONDS: u128 = 1_000_000_000;
/// The kernel computes when a live task began from two clocks, rounding each to seconds.
const BEGIN_TIME_WOBBLE: u64 = 1;

/// A field that only grows: its name, the served value, its offset in the record.
type Counter = (&'static str, Option<u64>, usize);

/// The fields that have been compared so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Comparison {
    /// Fields that had the kernel's value.
    pub fields: usize,
    /// Fields that are absent because the kernel's version lacks them.
    pub absent: BTreeSet<&'static str>,
}

impl Comparison {
    /// Compares the statistics of a running task with records read before and after it.
    ///
    /// # Errors
    ///
    /// A field has another value, is absent, or should be.
    pub fn live(&mut self, before: &Record, stats: &TaskStats, after: &Record) -> Result<()> {
        ensure!(stats.exit.is_none(), "a task that lives has not ended: {:?}", stats.exit);
        self.task(before, stats, after)
    }

    /// Compares the statistics of an exited task with the record in the same message.
    ///
    /// # Errors
    ///
    /// As in [`Comparison::live`].
    pub fn exit(&mut self, record: &Record, stats: &TaskStats) -> Result<()> {
        let status = stats.exit.as_ref().map(|exit| exit.raw_status);
        self.same("exit status", status, record.u32(offset::EXIT_CODE)?)?;
        self.task(record, stats, record)
    }

    /// Compares the statistics of a process with the kernel's records of it: those read before and
    /// after, or twice the one of its exit. The kernel sums up few fields and leaves the others as
    /// they are; some kernels do not set the version, so `version` is that of the task's record.
    ///
    /// # Errors
    ///
    /// As in [`Comparison::live`].
    pub fn group(
        &mut self,
        (tgid, version): (u32, u32),
        before: &Record,
        stats: &TaskStats,
        after: &Record,
    ) -> Result<()> {
        self.same("version of a group", Some(stats.taskstats_version), version)?;
        let only_tgid = Identity { tgid: Some(tgid), ..Identity::default() };
        self.same("identity of a group", stats.identity.clone(), only_tgid)?;
        let has_none = (stats.faults, stats.memory, stats.io) == (None, None, None)
            && (stats.elapsed_us, stats.group_elapsed_us) == (None, None)
            && stats.exit.is_none()
            && stats.executable.is_none();
        ensure!(has_none, "a group has more than the kernel sums: {stats:?}");
        let cpu = stats.cpu.context("no CPU time")?;
        let sums_times = before.u64(offset::ELAPSED)? > 0;
        ensure!(cpu.user_us.is_some() == sums_times, "a group's user time: {cpu:?}");
        // Kernels that do not sum the times of the dead do not sum their switches.
        let has_ended = std::ptr::eq(before, after);
        let sums_switches = sums_times || !has_ended;
        ensure!(
            stats.context_switches.is_some() == sums_switches,
            "a group's context switches: {:?}",
            stats.context_switches
        );
        let mut counters = if sums_switches { switch_counters(stats)? } else { Vec::new() };
        counters.push(("run real", cpu.run_real_ns, offset::CPU_RUN_REAL));
        counters.push(("run virtual", cpu.run_virtual_ns, offset::CPU_RUN_VIRTUAL));
        if sums_times {
            counters.push(("user", cpu.user_us, offset::USER_TIME));
            counters.push(("system", cpu.system_us, offset::SYSTEM_TIME));
        }
        self.counters(counters, before, after)?;
        for (class, delay) in classes(stats)?.into_iter().enumerate() {
            self.delay((class, version), delay, before, after)?;
            let extremes = delay.and_then(|delay| delay.max_ns.or(delay.min_ns));
            ensure!(extremes.is_none(), "a group has extremes: {delay:?}");
        }
        Ok(())
    }

    fn task(&mut self, before: &Record, stats: &TaskStats, after: &Record) -> Result<()> {
        self.same("version", Some(stats.taskstats_version), before.version()?)?;
        ensure!(stats.unknown_tail.is_empty(), "left over: {:?}", stats.unknown_tail);
        let identity = stats.identity.as_ref().context("no identity")?;
        self.identity(before, identity)?;
        let began = u64::try_from(identity.begin_time.context("began never")?.seconds)?;
        let wobble = if before == after { 0 } else { BEGIN_TIME_WOBBLE };
        let kernels = before.u64(offset::BEGIN_TIME)?;
        ensure!(began.abs_diff(kernels) <= wobble, "began {began}, the kernel said {kernels}");
        self.fields += 1;
        self.group_fields(before, stats, identity)?;
        let mut counters = time_counters(stats)?;
        counters.extend(switch_counters(stats)?);
        counters.extend(memory_counters(stats)?);
        counters.extend(io_counters(stats)?);
        if before.version()? >= GROUP_FIELDS_SINCE {
            counters.push(("group elapsed", stats.group_elapsed_us, offset::GROUP_ELAPSED));
        }
        self.counters(counters, before, after)?;
        for (class, delay) in classes(stats)?.into_iter().enumerate() {
            self.delay((class, before.version()?), delay, before, after)?;
            self.extremes(class, delay, before, after)?;
        }
        Ok(())
    }

    fn identity(&mut self, record: &Record, identity: &Identity) -> Result<()> {
        self.same("pid", identity.pid, record.u32(offset::PID)?)?;
        self.same("ppid", identity.ppid, record.u32(offset::PPID)?)?;
        self.same("uid", identity.uid, record.u32(offset::UID)?)?;
        self.same("gid", identity.gid, record.u32(offset::GID)?)?;
        self.same("comm", identity.comm.clone(), record.comm()?)?;
        self.same("nice", identity.nice, record.u8(offset::NICE)?.cast_signed().into())?;
        self.same("scheduler", identity.scheduler, record.u8(offset::SCHED)?.into())?;
        self.same("flags", identity.flags, record.u8(offset::FLAG)?.into())
    }

    /// Fields of a task's record since version 12.
    fn group_fields(
        &mut self,
        record: &Record,
        stats: &TaskStats,
        identity: &Identity,
    ) -> Result<()> {
        if record.version()? < GROUP_FIELDS_SINCE {
            self.lacks("tgid", identity.tgid)?;
            self.lacks("group elapsed", stats.group_elapsed_us)?;
            return self.lacks("executable", stats.executable);
        }
        self.same("tgid", identity.tgid, record.u32(offset::TGID)?)?;
        let executable = stats.executable.unwrap_or_default();
        let (device, inode) = (executable.device, executable.inode);
        self.same("device", Some(device), record.u64(offset::EXECUTABLE_DEVICE)?)?;
        self.same("inode", Some(inode), record.u64(offset::EXECUTABLE_INODE)?)?;
        ensure!(
            stats.executable.is_some() == ((device, inode) != (0, 0)),
            "an executable of zeros"
        );
        Ok(())
    }

    fn delay(
        &mut self,
        (class, version): (usize, u32),
        delay: Option<Delay>,
        before: &Record,
        after: &Record,
    ) -> Result<()> {
        let (name, at) = (CLASSES[class], offset::DELAYS[class]);
        if version < CLASSES_SINCE[class] {
            return self.lacks(name, delay);
        }
        let delay = delay.with_context(|| format!("{name} is absent"))?;
        let counters = [(name, Some(delay.count), at), (name, Some(delay.total_ns), at + U64)];
        self.counters(counters, before, after)
    }

    fn extremes(
        &mut self,
        class: usize,
        delay: Option<Delay>,
        before: &Record,
        after: &Record,
    ) -> Result<()> {
        let (name, version) = (CLASSES[class], before.version()?);
        let Some(delay) = delay else { return Ok(()) };
        if version < MAX_AT_SINCE {
            self.lacks("max_at", delay.max_at)?;
        }
        if version < EXTREMES_SINCE {
            self.lacks("max_ns", delay.max_ns)?;
            return self.lacks("min_ns", delay.min_ns);
        }
        let has_waited = delay.count > 0;
        let has_extremes = delay.max_ns.is_some() && delay.min_ns.is_some();
        ensure!(has_extremes == has_waited, "{name}: {delay:?}");
        if !has_waited {
            return Ok(());
        }
        let place = offset::DELAY_EXTREMES + class * PAIR;
        self.counters([(name, delay.max_ns, place)], before, after)?;
        self.shrank(name, before.u64(place + U64)?, delay.min_ns, after.u64(place + U64)?)?;
        if version < MAX_AT_SINCE {
            return Ok(());
        }
        let place = offset::DELAY_MOMENTS + class * PAIR;
        let moment =
            |record: &Record| anyhow::Ok(moment(record.u64(place)?, record.u64(place + U64)?));
        let (first, last) = (moment(before)?, moment(after)?);
        let served = match delay.max_at {
            Some(at) => self::moment(at.seconds.try_into()?, at.nanos.try_into()?),
            None => 0,
        };
        self.fields += 1;
        ensure!((first..=last).contains(&served), "{name}: {first} to {last}, not {served}");
        Ok(())
    }

    fn counters(
        &mut self,
        counters: impl IntoIterator<Item = Counter>,
        before: &Record,
        after: &Record,
    ) -> Result<()> {
        for (name, served, at) in counters {
            let (before, after) = (before.u64(at)?, after.u64(at)?);
            let is_between = served.is_some_and(|served| (before..=after).contains(&served));
            ensure!(is_between, "{name}: the kernel said {before}, then {after}, not {served:?}");
            self.fields += 1;
        }
        Ok(())
    }

    fn shrank(&mut self, name: &str, before: u64, served: Option<u64>, after: u64) -> Result<()> {
        // The first wait sets the minimum, which is 0 before it.
        let upper = if before == 0 && after != 0 { u64::MAX } else { before };
        let is_between = served.is_some_and(|served| (after..=upper).contains(&served));
        ensure!(is_between, "{name}: the kernel said {before}, then {after}, not {served:?}");
        self.fields += 1;
        Ok(())
    }

    #[expect(clippy::needless_pass_by_value, reason = "most are numbers")]
    fn same<T: PartialEq + Debug>(
        &mut self,
        name: &str,
        served: Option<T>,
        kernels: T,
    ) -> Result<()> {
        match served {
            Some(served) if served == kernels => self.fields += 1,
            None => bail!("{name}: {kernels:?} is absent"),
            Some(served) => bail!("{name}: {kernels:?}, not {served:?}"),
        }
        Ok(())
    }

    /// Checks that a field is absent if the kernel's version lacks it.
    fn lacks<T: Debug>(&mut self, name: &'static str, served: Option<T>) -> Result<()> {
        if let Some(served) = served {
            bail!("{name} was made up: {served:?}");
        }
        self.absent.insert(name);
        Ok(())
    }
}

fn time_counters(stats: &TaskStats) -> Result<Vec<Counter>> {
    let cpu = stats.cpu.context("no CPU time")?;
    Ok(vec![
        ("elapsed", stats.elapsed_us, offset::ELAPSED),
        ("user", cpu.user_us, offset::USER_TIME),
        ("system", cpu.system_us, offset::SYSTEM_TIME),
        ("user scaled", cpu.user_scaled_us, offset::USER_TIME_SCALED),
        ("system scaled", cpu.system_scaled_us, offset::SYSTEM_TIME_SCALED),
        ("run real", cpu.run_real_ns, offset::CPU_RUN_REAL),
        ("run virtual", cpu.run_virtual_ns, offset::CPU_RUN_VIRTUAL),
        ("run real scaled", cpu.run_real_scaled_ns, offset::CPU_RUN_REAL_SCALED),
    ])
}

fn switch_counters(stats: &TaskStats) -> Result<Vec<Counter>> {
    let switches = stats.context_switches.context("no context switches")?;
    Ok(vec![
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

fn classes(stats: &TaskStats) -> Result<[Option<Delay>; 8]> {
    let delays = stats.delays.as_ref().context("no delays")?;
    Ok([
        delays.cpu,
        delays.block_io,
        delays.swap_in,
        delays.reclaim,
        delays.thrashing,
        delays.compaction,
        delays.write_protect_copy,
        delays.irq,
    ])
}

fn moment(seconds: u64, nanoseconds: u64) -> u128 {
    u128::from(seconds) * NANOSECONDS + u128::from(nanoseconds)
}
