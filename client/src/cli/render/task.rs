//! The record of a live task or process in full, as sections of keys and values.
//!
//! Values that the kernel did not report are left out.

use super::columns::{Align, Cell, Column, header, line};
use super::exit_columns::{COMM_WIDTH, short_comm, top_wait};
use super::fields::{DelayClass, cpu_us, delay_classes, exit_status, storage_bytes};
use super::owner::{certainty, owner};
use super::section::Section;
use super::style::Style;
use super::text::escaped;
use super::units;
use crate::proto::{CpuTime, Delay, Delays, Executable, Identity, Io, Memory};
use crate::{DelayAccounting, Owner, TaskStats};

/// The kernel reports numbers of calls in steps of this many.
const CALLS_STEP: u64 = 1024;

const THREAD_COLUMNS: [Column; 6] = [
    Column { title: "TID", width: 9, align: Align::Right },
    Column { title: "COMM", width: COMM_WIDTH, align: Align::Left },
    Column { title: "ELAPSED", width: 8, align: Align::Right },
    Column { title: "CPU TIME", width: 8, align: Align::Right },
    Column { title: "I/O", width: 8, align: Align::Right },
    Column { title: "TOP WAIT", width: 0, align: Align::Left },
];

/// The kernel's `SCHED_*` numbers; 4 is not used.
const POLICIES: [&str; 8] = ["other", "fifo", "rr", "batch", "4", "idle", "deadline", "ext"];

/// The kernel's `ac_flag` bits.
const FLAGS: [(u32, &str); 5] = [
    (1, "forked but never executed"),
    (2, "used superuser privileges"),
    (8, "dumped core"),
    (16, "killed by a signal"),
    (32, "last of its group"),
];

/// Returns all sections of a record.
pub(crate) fn full(stats: &TaskStats, owner: Option<&Owner>, style: &Style) -> String {
    let sections = [
        Some(overview(stats, style)),
        owner.map(workload),
        stats.cpu.as_ref().map(cpu),
        stats.memory.as_ref().map(memory),
        stats.io.as_ref().map(io),
        stats.delays.as_ref().map(|delays| waiting(stats, delays, style)),
    ];
    sections.iter().flatten().map(|section| section.text(style.palette)).collect()
}

/// Returns the table of a process' threads.
pub(crate) fn threads(threads: &[TaskStats], style: &Style) -> String {
    let mut text = header(&THREAD_COLUMNS, style.palette, None);
    for stats in threads {
        let identity = stats.identity.clone().unwrap_or_default();
        let cells = [
            Cell::optional(identity.pid),
            Cell::optional(identity.comm.as_deref().map(short_comm)),
            Cell::optional(stats.elapsed_us.map(units::microseconds)),
            Cell::optional(cpu_us(stats).map(units::microseconds)),
            Cell::optional(storage_bytes(stats).map(units::bytes)),
            Cell::plain(top_wait(stats)),
        ];
        text.push_str(&line(&THREAD_COLUMNS, &cells, style.palette, None));
    }
    text
}

fn overview(stats: &TaskStats, style: &Style) -> Section {
    let identity = stats.identity.clone().unwrap_or_default();
    let faults = stats.faults.as_ref();
    let switches = stats.context_switches.as_ref();
    who(&identity, style)
        .optional("ended", stats.exit.as_ref().map(exit_status))
        .optional("elapsed", stats.elapsed_us.map(units::microseconds))
        .optional("group elapsed", stats.group_elapsed_us.map(units::microseconds))
        .optional("faults", faults.map(|f| format!("{} minor, {} major", f.minor, f.major)))
        .optional(
            "context switches",
            switches.map(|s| format!("{} voluntary, {} involuntary", s.voluntary, s.involuntary)),
        )
        .optional("executable", stats.executable.as_ref().map(executable))
        .row("taskstats version", stats.taskstats_version)
        .optional("beyond that version", tail(stats))
}

fn who(identity: &Identity, style: &Style) -> Section {
    let title = match (identity.pid, identity.tgid) {
        (Some(pid), _) => format!("task {pid}"),
        (None, Some(tgid)) => format!("process {tgid}"),
        (None, None) => "task".to_owned(),
    };
    let process = identity.pid.and(identity.tgid);
    Section::new(title)
        .optional("command", identity.comm.as_deref().map(escaped))
        .optional("process", process)
        .optional("parent", identity.ppid)
        .optional("user", identity.uid)
        .optional("group", identity.gid)
        .optional("nice", identity.nice)
        .optional("scheduler", identity.scheduler.map(policy))
        .optional("flags", identity.flags.map(flags))
        .optional("began", identity.begin_time.as_ref().map(|time| style.time.date(time)))
}

fn workload(Owner { workload, attribution }: &Owner) -> Section {
    let container = workload.container.as_ref().map(|container| &container.id);
    Section::new("Workload")
        .optional("owner", owner(Some(workload), None, *attribution).as_deref().map(escaped))
        .optional("attribution", certainty(*attribution))
        .optional("cgroup", Some(escaped(&workload.cgroup)).filter(|path| !path.is_empty()))
        .optional("container id", container.map(|id| escaped(id)))
        .optional("pod uid", workload.pod.as_ref().map(|pod| escaped(&pod.uid)))
        .optional("QoS class", workload.pod.as_ref().map(|pod| escaped(&pod.qos)))
}

fn cpu(cpu: &CpuTime) -> Section {
    Section::new("CPU time")
        .optional("user", cpu.user_us.map(units::microseconds))
        .optional("system", cpu.system_us.map(units::microseconds))
        .optional("user, scaled", cpu.user_scaled_us.map(units::microseconds))
        .optional("system, scaled", cpu.system_scaled_us.map(units::microseconds))
        .optional("real", cpu.run_real_ns.map(units::nanoseconds))
        .optional("virtual", cpu.run_virtual_ns.map(units::nanoseconds))
        .optional("real, scaled", cpu.run_real_scaled_ns.map(units::nanoseconds))
}

fn memory(memory: &Memory) -> Section {
    Section::new("Memory")
        .row("peak RSS", units::kibibytes(memory.peak_rss_kib))
        .row("peak virtual", units::kibibytes(memory.peak_vm_kib))
        .row("RSS integral", format!("{} MB·µs", memory.rss_integral_mb_us))
        .row("virtual integral", format!("{} MB·µs", memory.vm_integral_mb_us))
}

fn io(io: &Io) -> Section {
    let calls = |bytes, calls| format!("{} in {}", units::bytes(bytes), counted(calls));
    Section::new("I/O")
        .row("read by calls", calls(io.read_chars_bytes, io.read_syscalls))
        .row("written by calls", calls(io.write_chars_bytes, io.write_syscalls))
        .row("read from storage", units::bytes(io.read_bytes))
        .row("written to storage", units::bytes(io.write_bytes))
        .row("write cancelled", units::bytes(io.cancelled_write_bytes))
}

/// Returns the range that a number of calls is in.
///
/// The kernel clears the low ten bits of the number, as if it counted bytes: see `KB_MASK` in
/// kernel/tsacct.c.
fn counted(calls: u64) -> String {
    match calls {
        0 => format!("under {CALLS_STEP} calls"),
        calls => format!("{calls} to {} calls", calls.saturating_add(CALLS_STEP - 1)),
    }
}

fn waiting(stats: &TaskStats, delays: &Delays, style: &Style) -> Section {
    let accounting = stats.delay_accounting();
    let title = match accounting {
        DelayAccounting::On => "Delays",
        DelayAccounting::Off => {
            "Delays (delay accounting is off: only the wait for a CPU is known)"
        }
        DelayAccounting::Partial => {
            "Delays (accounting was on for a part of the lifetime: only the wait for a CPU is complete)"
        }
        DelayAccounting::Unknown | DelayAccounting::Unspecified => {
            "Delays (a zero can mean that accounting was off)"
        }
    };
    delay_classes(delays).fold(Section::new(title), |section, (class, delay)| {
        let value = match accounting {
            _ if class == DelayClass::Cpu => waits(class, delay, style),
            DelayAccounting::Off => "off".to_owned(),
            DelayAccounting::Partial if delay.count == 0 => "unknown".to_owned(),
            DelayAccounting::Partial => format!("at least {}", waits(class, delay, style)),
            _ => waits(class, delay, style),
        };
        section.row(class.title(), value)
    })
}

/// Returns one class of waiting: `3.1 ms in 4 waits, longest 2.0 ms, shortest 100 µs`.
fn waits(class: DelayClass, delay: &Delay, style: &Style) -> String {
    // A task can run without waiting for its CPU. In any other class a wait that was counted has a
    // duration, so that a sum of 0 has overflowed.
    let overflowed = delay.total_ns == 0 && delay.count > 0 && class != DelayClass::Cpu;
    let total =
        if overflowed { "overflowed".to_owned() } else { units::nanoseconds(delay.total_ns) };
    let plural = if delay.count == 1 { "" } else { "s" };
    let mut text = format!("{total} in {} wait{plural}", delay.count);
    if let Some(longest) = delay.max_ns {
        text.push_str(&format!(", longest {}", units::nanoseconds(longest)));
    }
    if let Some(time) = &delay.max_at {
        text.push_str(&format!(" at {}", style.time.date(time)));
    }
    if let Some(shortest) = delay.min_ns {
        text.push_str(&format!(", shortest {}", units::nanoseconds(shortest)));
    }
    text
}

fn policy(scheduler: u32) -> String {
    let name = usize::try_from(scheduler).ok().and_then(|at| POLICIES.get(at));
    name.map_or_else(|| scheduler.to_string(), |name| (*name).to_owned())
}

fn flags(flags: u32) -> String {
    let known = FLAGS.iter().filter(|(bit, _)| flags & bit != 0);
    let names: Vec<_> = known.map(|(_, name)| *name).collect();
    if names.is_empty() { flags.to_string() } else { names.join(", ") }
}

/// Returns the inode, and the device as `ls` shows it: see `new_decode_dev` in
/// `include/linux/kdev_t.h`.
fn executable(file: &Executable) -> String {
    let device = file.device;
    let major = (device & 0xf_ff00) >> 8;
    let minor = (device & 0xff) | ((device >> 12) & 0xf_ff00);
    format!("inode {} on device {major}:{minor}", file.inode)
}

fn tail(stats: &TaskStats) -> Option<String> {
    let length = stats.unknown_tail.len();
    (length > 0).then(|| format!("{length} bytes unknown to the agent"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_has_the_numbers_that_ls_shows() {
        let file = Executable { device: 0x0010_3405, inode: 9 };
        assert_eq!(executable(&file), "inode 9 on device 52:261");
    }

    #[test]
    fn flags_and_policies_are_named() {
        assert_eq!(flags(0), "0");
        assert_eq!(flags(0x21), "forked but never executed, last of its group");
        assert_eq!(flags(0x40), "64");
        assert_eq!(policy(3), "batch");
        assert_eq!(policy(99), "99");
    }

    #[test]
    fn a_number_of_calls_is_a_range() {
        assert_eq!(counted(0), "under 1024 calls");
        assert_eq!(counted(2048), "2048 to 3071 calls");
    }
}
