//! One exit in wire form, written by hand.
//!
//! An exit is encoded once, in the reader thread, however many watch. prost would need an
//! [`Exit`] converted to its types first, with a `String` for the command name, and measures each
//! message before it writes it; writing lengths afterwards is several times faster.

#[cfg(test)]
pub(crate) mod arbitrary;
pub(crate) mod field;
mod redact;
mod wire;
mod writer;

use std::time::Duration;

pub use self::redact::{HiddenFields, remove_fields};
use self::writer::FieldWriter;
use crate::bpf::Hierarchy;
use crate::taskstats::{
    Attribution, Comm, ContextSwitches, CpuTime, Delay, DelayAccounting, DelayClass, DelayCoverage,
    Executable, Exit, Faults, Identity, Io, Memory, Owner, ProcessTotals, Stats, TaskIdentity,
    WaitStatus,
};

/// Room made for an event before it is written, so that the buffer grows once at most. Events are
/// 106 to 300 bytes long; a longer one makes the buffer grow on the way.
const USUAL_EVENT: usize = 512;

/// Appends one exit to `out` as an entry of `ExitEvents.events`: key, length and `ExitEvent`.
///
/// Entries that stand one after the other are an `ExitEvents` without its cursor. `received_at` is
/// since 1970.
///
/// ```
/// use std::time::Duration;
/// use prost::Message;
/// use taskstats_proto::v1;
/// use taskstatsd::encode::encode_event;
/// use taskstatsd::taskstats::{DelayAccounting, Exit};
///
/// let mut out = Vec::new();
/// let exit = Exit { cpu: 1, ..Exit::default() };
/// encode_event(&mut out, &exit, 7, Duration::from_secs(60), DelayAccounting::Off);
/// encode_event(&mut out, &exit, 8, Duration::from_secs(60), DelayAccounting::Off);
/// let events = v1::ExitEvents::decode(&*out).unwrap().events;
/// assert_eq!((events[0].sequence, events[1].sequence), (7, 8));
/// ```
pub fn encode_event(
    out: &mut Vec<u8>,
    exit: &Exit,
    sequence: u64,
    received_at: Duration,
    delay_accounting: DelayAccounting,
) {
    use field::exit_event::{
        CPU, EXIT_TIME, KERNEL_SEQUENCE, LAST_IN_PROCESS, PROCESS, PROCESS_TOTALS, RECEIVED_AT,
        SEQUENCE, TASK,
    };
    out.reserve(USUAL_EVENT);
    FieldWriter::new(out).message(field::exit_events::EVENTS, |event| {
        event.integer_unless_zero(SEQUENCE, sequence);
        event.integer_unless_zero(CPU, exit.cpu.into());
        event.integer_unless_zero(KERNEL_SEQUENCE, exit.kernel_sequence.into());
        event.short_message(RECEIVED_AT, |writer| timestamp(writer, received_at));
        let covered = delay_accounting.task_coverage(&exit.task);
        event.message(TASK, |writer| stats(writer, &exit.task, covered));
        if let Some(process) = &exit.process {
            let covered = delay_accounting.exited_group_coverage(process, &exit.task);
            event.message(PROCESS, |writer| stats(writer, process, covered));
        }
        event.integer_if_some(LAST_IN_PROCESS, exit.last_in_process().map(u64::from));
        if let Some(owner) = exit.owner {
            encode_owner(event, owner);
        }
        optional(event, EXIT_TIME, exit.ended_at, timestamp);
        if let Some(totals) = &exit.process_totals {
            event.message(PROCESS_TOTALS, |writer| process_totals(writer, totals));
        }
    });
}

#[inline(always)]
fn encode_owner(event: &mut FieldWriter<'_>, owner: Owner) {
    use field::exit_event::{ATTRIBUTION, CGROUP_ID, HIERARCHY};
    use field::{attribution, hierarchy};
    event.fixed64(CGROUP_ID, owner.cgroup.id);
    let hierarchy = match owner.cgroup.hierarchy {
        Hierarchy::V2 => hierarchy::V2,
        Hierarchy::V1 => hierarchy::V1,
    };
    event.integer(HIERARCHY, hierarchy);
    let attribution = match owner.attribution {
        Attribution::Exact => attribution::EXACT,
        Attribution::Observed => attribution::OBSERVED,
        Attribution::Inferred => attribution::INFERRED,
        Attribution::Guess => attribution::GUESS,
    };
    event.integer(ATTRIBUTION, attribution);
}

fn process_totals(writer: &mut FieldWriter<'_>, totals: &ProcessTotals) {
    use field::process_totals::{
        COMPLETE, CONTEXT_SWITCHES, CPU, DELAYS, FAULTS, IO, MEMORY, THREADS,
    };
    writer.short_message(CPU, |writer| cpu_time(writer, &totals.cpu));
    optional(writer, FAULTS, totals.faults, faults);
    optional(writer, MEMORY, totals.memory, memory);
    optional(writer, IO, totals.io, io);
    optional(writer, CONTEXT_SWITCHES, totals.context_switches, context_switches);
    writer.message(DELAYS, |writer| delays(writer, &totals.delays));
    writer.integer_unless_zero(THREADS, totals.threads.into());
    writer.integer_unless_zero(COMPLETE, totals.complete.into());
}

/// Encodes a `GetPidResponse`: the answer to the most frequent question.
#[must_use]
pub(crate) fn encode_pid_response(task: &Stats, delay_accounting: DelayAccounting) -> Vec<u8> {
    use field::get_pid_response::STATS;
    let mut out = Vec::with_capacity(USUAL_EVENT);
    let covered = delay_accounting.task_coverage(task);
    FieldWriter::new(&mut out).message(STATS, |writer| stats(writer, task, covered));
    out
}

#[inline(always)]
fn timestamp(writer: &mut FieldWriter<'_>, since_1970: Duration) {
    use field::timestamp::{NANOS, SECONDS};
    writer.integer_unless_zero(SECONDS, since_1970.as_secs());
    writer.integer_unless_zero(NANOS, since_1970.subsec_nanos().into());
}

fn stats(writer: &mut FieldWriter<'_>, stats: &Stats, covered: DelayCoverage) {
    use field::task_stats::{
        CONTEXT_SWITCHES, CPU, DELAY_ACCOUNTING, DELAYS, ELAPSED_US, EXECUTABLE, EXIT, FAULTS,
        GROUP_ELAPSED_US, IDENTITY, IO, MEMORY, TASKSTATS_VERSION, UNKNOWN_TAIL,
    };
    writer.integer_unless_zero(TASKSTATS_VERSION, stats.version.into());
    writer.short_message(IDENTITY, |writer| identity(writer, &stats.identity));
    optional(writer, EXIT, stats.exit_status.map(WaitStatus), exit_status);
    writer.short_message(CPU, |writer| cpu_time(writer, &stats.cpu));
    writer.integer_if_some(ELAPSED_US, stats.elapsed_us);
    writer.integer_if_some(GROUP_ELAPSED_US, stats.group_elapsed_us);
    optional(writer, FAULTS, stats.faults, faults);
    optional(writer, MEMORY, stats.memory, memory);
    optional(writer, IO, stats.io, io);
    optional(writer, CONTEXT_SWITCHES, stats.context_switches, context_switches);
    writer.message(DELAYS, |writer| delays(writer, &stats.delays));
    writer.integer(DELAY_ACCOUNTING, coverage_number(covered));
    optional(writer, EXECUTABLE, stats.executable, executable);
    if !stats.unknown_tail.is_empty() {
        writer.bytes(UNKNOWN_TAIL, &stats.unknown_tail);
    }
}

/// Writes a small message if there is one.
#[inline(always)]
fn optional<T>(
    writer: &mut FieldWriter<'_>,
    number: u8,
    value: Option<T>,
    body: impl FnOnce(&mut FieldWriter<'_>, T),
) {
    if let Some(value) = value {
        writer.short_message(number, |writer| body(writer, value));
    }
}

#[inline(always)]
fn identity(writer: &mut FieldWriter<'_>, identity: &Identity) {
    use field::identity::{PID, TGID};
    writer.integer_if_some(PID, identity.pid.map(u64::from));
    writer.integer_if_some(TGID, identity.tgid.map(u64::from));
    if let Some(task) = &identity.task {
        task_identity(writer, task);
    }
}

#[inline(always)]
fn task_identity(writer: &mut FieldWriter<'_>, task: &TaskIdentity) {
    use field::identity::{BEGIN_TIME, FLAGS, GID, NICE, PPID, SCHEDULER, UID};
    writer.integer(PPID, task.ppid.into());
    writer.integer(UID, task.uid.into());
    writer.integer(GID, task.gid.into());
    comm(writer, &task.comm);
    writer.signed(NICE, task.nice.into());
    writer.integer(SCHEDULER, task.scheduler.into());
    writer.integer(FLAGS, task.flags.into());
    writer.short_message(BEGIN_TIME, |writer| {
        writer.signed(field::timestamp::SECONDS, task.begin_time_s);
    });
}

#[inline(always)]
fn comm(writer: &mut FieldWriter<'_>, comm: &Comm) {
    use field::identity::COMM;
    match str::from_utf8(comm.as_bytes()) {
        Ok(name) => writer.bytes(COMM, name.as_bytes()),
        Err(_) => writer.bytes(COMM, String::from_utf8_lossy(comm.as_bytes()).as_bytes()),
    }
}

#[inline(always)]
fn exit_status(writer: &mut FieldWriter<'_>, status: WaitStatus) {
    use field::exit_status::{CODE, CORE_DUMPED, RAW_STATUS, SIGNAL};
    writer.integer_unless_zero(RAW_STATUS, status.0.into());
    writer.integer_if_some(CODE, status.code().map(u64::from));
    writer.integer_if_some(SIGNAL, status.signal().map(u64::from));
    writer.integer_unless_zero(CORE_DUMPED, status.core_dumped().into());
}

#[inline(always)]
fn cpu_time(writer: &mut FieldWriter<'_>, cpu: &CpuTime) {
    use field::cpu_time::{
        RUN_REAL_NS, RUN_REAL_SCALED_NS, RUN_VIRTUAL_NS, SYSTEM_SCALED_US, SYSTEM_US,
        USER_SCALED_US, USER_US,
    };
    writer.integer_if_some(USER_US, cpu.user_us);
    writer.integer_if_some(SYSTEM_US, cpu.system_us);
    writer.integer_if_some(USER_SCALED_US, cpu.user_scaled_us);
    writer.integer_if_some(SYSTEM_SCALED_US, cpu.system_scaled_us);
    writer.integer_if_some(RUN_REAL_NS, cpu.run_real_ns);
    writer.integer_if_some(RUN_VIRTUAL_NS, cpu.run_virtual_ns);
    writer.integer_if_some(RUN_REAL_SCALED_NS, cpu.run_real_scaled_ns);
}

#[inline(always)]
fn faults(writer: &mut FieldWriter<'_>, faults: Faults) {
    use field::faults::{MAJOR, MINOR};
    writer.integer_unless_zero(MINOR, faults.minor);
    writer.integer_unless_zero(MAJOR, faults.major);
}

#[inline(always)]
fn memory(writer: &mut FieldWriter<'_>, memory: Memory) {
    use field::memory::{PEAK_RSS_KIB, PEAK_VM_KIB, RSS_INTEGRAL_MB_US, VM_INTEGRAL_MB_US};
    writer.integer_unless_zero(RSS_INTEGRAL_MB_US, memory.rss_integral_mb_us);
    writer.integer_unless_zero(VM_INTEGRAL_MB_US, memory.vm_integral_mb_us);
    writer.integer_unless_zero(PEAK_RSS_KIB, memory.peak_rss_kib);
    writer.integer_unless_zero(PEAK_VM_KIB, memory.peak_vm_kib);
}

#[inline(always)]
fn io(writer: &mut FieldWriter<'_>, io: Io) {
    use field::io::{
        CANCELLED_WRITE_BYTES, READ_BYTES, READ_CHARS_BYTES, READ_SYSCALLS, WRITE_BYTES,
        WRITE_CHARS_BYTES, WRITE_SYSCALLS,
    };
    writer.integer_unless_zero(READ_CHARS_BYTES, io.read_chars_bytes);
    writer.integer_unless_zero(WRITE_CHARS_BYTES, io.write_chars_bytes);
    writer.integer_unless_zero(READ_SYSCALLS, io.read_syscalls);
    writer.integer_unless_zero(WRITE_SYSCALLS, io.write_syscalls);
    writer.integer_unless_zero(READ_BYTES, io.read_bytes);
    writer.integer_unless_zero(WRITE_BYTES, io.write_bytes);
    writer.integer_unless_zero(CANCELLED_WRITE_BYTES, io.cancelled_write_bytes);
}

#[inline(always)]
fn context_switches(writer: &mut FieldWriter<'_>, switches: ContextSwitches) {
    use field::context_switches::{INVOLUNTARY, VOLUNTARY};
    writer.integer_unless_zero(VOLUNTARY, switches.voluntary);
    writer.integer_unless_zero(INVOLUNTARY, switches.involuntary);
}

#[inline(always)]
fn delays(writer: &mut FieldWriter<'_>, delays: &[Option<Delay>; DelayClass::COUNT]) {
    for (number, class) in field::delays::CLASSES.into_iter().zip(delays) {
        optional(writer, number, class.as_ref(), delay);
    }
}

#[inline(always)]
fn delay(writer: &mut FieldWriter<'_>, delay: &Delay) {
    use field::delay::{COUNT, MAX_AT, MAX_NS, MIN_NS, TOTAL_NS};
    writer.integer_unless_zero(COUNT, delay.count);
    writer.integer_unless_zero(TOTAL_NS, delay.total_ns);
    if let Some(extremes) = delay.extremes {
        writer.integer(MAX_NS, extremes.max_ns);
        writer.integer(MIN_NS, extremes.min_ns);
        optional(writer, MAX_AT, extremes.max_at, timestamp);
    }
}

#[inline(always)]
fn executable(writer: &mut FieldWriter<'_>, executable: Executable) {
    use field::executable::{DEVICE, INODE};
    writer.integer_unless_zero(DEVICE, executable.device);
    writer.integer_unless_zero(INODE, executable.inode);
}

const fn coverage_number(covered: DelayCoverage) -> u64 {
    use field::delay_accounting::{OFF, ON, PARTIAL, UNKNOWN};
    match covered {
        DelayCoverage::On => ON,
        DelayCoverage::Off => OFF,
        DelayCoverage::Partial => PARTIAL,
        DelayCoverage::Unknown => UNKNOWN,
    }
}

#[cfg(test)]
mod tests;
