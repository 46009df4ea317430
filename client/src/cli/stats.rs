//! A live account in full, as sections of keys and values. What the kernel did not report is left
//! out.

use super::account::{DelayClass, cpu_us, delay_classes, ending, storage_bytes};
use super::columns::{Cell, Column, Side, header, line};
use super::exits::{comm, delay};
use super::output::Look;
use super::palette::{Palette, Tone};
use super::text::escaped;
use super::units;
use crate::proto::{CpuTime, Delay, Delays, Executable, Identity, Io, Memory};
use crate::{DelayAccounting, TaskStats};

/// Keys and values under one title.
#[derive(Debug, Default)]
pub(super) struct Section {
    title: String,
    rows: Vec<(&'static str, String)>,
}

/// The longest key, `write-protect copy`, and a gap.
const KEY_WIDTH: usize = 20;

/// Numbers of calls are known to so many.
const CALLS_STEP: u64 = 1024;

const THREAD_COLUMNS: [Column; 6] = [
    Column { title: "TID", width: 9, side: Side::Right },
    Column { title: "COMM", width: 15, side: Side::Left },
    Column { title: "ELAPSED", width: 8, side: Side::Right },
    Column { title: "CPU TIME", width: 8, side: Side::Right },
    Column { title: "I/O", width: 8, side: Side::Right },
    Column { title: "TOP WAIT", width: 0, side: Side::Left },
];

/// The kernel's `SCHED_*` numbers; 4 is not used.
const POLICIES: [&str; 8] = ["other", "fifo", "rr", "batch", "4", "idle", "deadline", "ext"];

/// The kernel's `ac_flag` bits.
const FLAGS: [(u32, &str); 5] = [
    (1, "forked but never executed"),
    (2, "used superuser rights"),
    (8, "dumped core"),
    (16, "killed by a signal"),
    (32, "last of its group"),
];

impl Section {
    pub(super) fn new(title: impl Into<String>) -> Self {
        Self { title: title.into(), rows: Vec::new() }
    }

    pub(super) fn row(self, key: &'static str, value: impl ToString) -> Self {
        self.known(key, Some(value))
    }

    /// Adds a row for what may be absent.
    pub(super) fn known(mut self, key: &'static str, value: Option<impl ToString>) -> Self {
        if let Some(value) = value {
            self.rows.push((key, value.to_string()));
        }
        self
    }

    /// The section as text; nothing when it has no rows.
    pub(super) fn text(&self, palette: Palette) -> String {
        if self.rows.is_empty() {
            return String::new();
        }
        let mut text = palette.paint(Tone::Heading, &self.title) + "\n";
        for (key, value) in &self.rows {
            text.push_str(&format!("  {key:<KEY_WIDTH$}{value}\n"));
        }
        text
    }
}

/// The account of a task or a process.
pub(super) fn full(stats: &TaskStats, look: &Look) -> String {
    let sections = [
        Some(overview(stats, look)),
        stats.cpu.as_ref().map(cpu),
        stats.memory.as_ref().map(memory),
        stats.io.as_ref().map(io),
        stats.delays.as_ref().map(|delays| waiting(stats, delays, look)),
    ];
    sections.iter().flatten().map(|section| section.text(look.palette)).collect()
}

/// The threads of a process, a line each.
pub(super) fn threads(threads: &[TaskStats], look: &Look) -> String {
    let mut text = header(&THREAD_COLUMNS, look.palette);
    for stats in threads {
        let identity = stats.identity.clone().unwrap_or_default();
        let cells = [
            Cell::known(identity.pid),
            comm(&identity),
            Cell::known(stats.elapsed_us.map(units::microseconds)),
            Cell::known(cpu_us(stats).map(units::microseconds)),
            Cell::known(storage_bytes(stats).map(units::bytes)),
            Cell::plain(delay(stats)),
        ];
        text.push_str(&line(&THREAD_COLUMNS, &cells, look.palette));
    }
    text
}

fn overview(stats: &TaskStats, look: &Look) -> Section {
    let identity = stats.identity.clone().unwrap_or_default();
    let faults = stats.faults.as_ref();
    let switches = stats.context_switches.as_ref();
    who(&identity, look)
        .known("ended", stats.exit.as_ref().map(ending))
        .known("elapsed", stats.elapsed_us.map(units::microseconds))
        .known("group elapsed", stats.group_elapsed_us.map(units::microseconds))
        .known("faults", faults.map(|f| format!("{} minor, {} major", f.minor, f.major)))
        .known(
            "context switches",
            switches.map(|s| format!("{} voluntary, {} involuntary", s.voluntary, s.involuntary)),
        )
        .known("executable", stats.executable.as_ref().map(executable))
        .row("taskstats version", stats.taskstats_version)
        .known("beyond that version", tail(stats))
}

fn who(identity: &Identity, look: &Look) -> Section {
    let title = match (identity.pid, identity.tgid) {
        (Some(pid), _) => format!("task {pid}"),
        (None, Some(tgid)) => format!("process {tgid}"),
        (None, None) => "task".to_owned(),
    };
    let process = identity.pid.and(identity.tgid);
    Section::new(title)
        .known("command", identity.comm.as_deref().map(escaped))
        .known("process", process)
        .known("parent", identity.ppid)
        .known("user", identity.uid)
        .known("group", identity.gid)
        .known("nice", identity.nice)
        .known("scheduler", identity.scheduler.map(policy))
        .known("flags", identity.flags.map(flags))
        .known("began", identity.begin_time.as_ref().map(|time| look.clock.date(time)))
}

fn cpu(cpu: &CpuTime) -> Section {
    Section::new("CPU time")
        .known("user", cpu.user_us.map(units::microseconds))
        .known("system", cpu.system_us.map(units::microseconds))
        .known("user, scaled", cpu.user_scaled_us.map(units::microseconds))
        .known("system, scaled", cpu.system_scaled_us.map(units::microseconds))
        .known("real", cpu.run_real_ns.map(units::nanoseconds))
        .known("virtual", cpu.run_virtual_ns.map(units::nanoseconds))
        .known("real, scaled", cpu.run_real_scaled_ns.map(units::nanoseconds))
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

/// How many calls there were. The kernel sends their number with the low ten bits cleared, as if it
/// were bytes: see `KB_MASK` in its `kernel/tsacct.c`.
fn counted(calls: u64) -> String {
    match calls {
        0 => format!("under {CALLS_STEP} calls"),
        calls => format!("{calls} to {} calls", calls.saturating_add(CALLS_STEP - 1)),
    }
}

fn waiting(stats: &TaskStats, delays: &Delays, look: &Look) -> Section {
    let accounting = stats.delay_accounting();
    let title = match accounting {
        DelayAccounting::On => "Delays",
        DelayAccounting::Off => "Delays (delay accounting is off: only those for a CPU are known)",
        DelayAccounting::Partial => {
            "Delays (accounted during a part of its life at most: only those for a CPU are complete)"
        }
        DelayAccounting::Unknown | DelayAccounting::Unspecified => {
            "Delays (zeros may mean that they were not accounted)"
        }
    };
    delay_classes(delays).fold(Section::new(title), |section, (class, delay)| {
        let value = match accounting {
            _ if class == DelayClass::Cpu => waits(class, delay, look),
            DelayAccounting::Off => "off".to_owned(),
            DelayAccounting::Partial if delay.count == 0 => "not known".to_owned(),
            DelayAccounting::Partial => format!("at least {}", waits(class, delay, look)),
            _ => waits(class, delay, look),
        };
        section.row(class.title(), value)
    })
}

/// One class of waiting: `3.1 ms in 4 waits, longest 2.0 ms, shortest 100 µs`.
fn waits(class: DelayClass, delay: &Delay, look: &Look) -> String {
    // A task can run without having waited for its CPU; any other class that was counted took time.
    let overflowed = delay.total_ns == 0 && delay.count > 0 && class != DelayClass::Cpu;
    let total =
        if overflowed { "overflowed".to_owned() } else { units::nanoseconds(delay.total_ns) };
    let plural = if delay.count == 1 { "" } else { "s" };
    let mut text = format!("{total} in {} wait{plural}", delay.count);
    if let Some(longest) = delay.max_ns {
        text.push_str(&format!(", longest {}", units::nanoseconds(longest)));
    }
    if let Some(moment) = &delay.max_at {
        text.push_str(&format!(" at {}", look.clock.date(moment)));
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

/// Device and inode, the device as `ls` shows it; see `new_decode_dev` in the kernel's
/// `include/linux/kdev_t.h`.
fn executable(file: &Executable) -> String {
    let device = file.device;
    let major = (device & 0xf_ff00) >> 8;
    let minor = (device & 0xff) | ((device >> 12) & 0xf_ff00);
    format!("inode {} on device {major}:{minor}", file.inode)
}

fn tail(stats: &TaskStats) -> Option<String> {
    let length = stats.unknown_tail.len();
    (length > 0).then(|| format!("{length} bytes that the agent does not know"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_reads_as_ls_shows_it() {
        let file = Executable { device: 0x0010_3405, inode: 9 };
        assert_eq!(executable(&file), "inode 9 on device 52:261");
    }

    #[test]
    fn flags_and_policies_have_words() {
        assert_eq!(flags(0), "0");
        assert_eq!(flags(0x21), "forked but never executed, last of its group");
        assert_eq!(flags(0x40), "64");
        assert_eq!(policy(3), "batch");
        assert_eq!(policy(99), "99");
    }

    #[test]
    fn calls_are_as_exact_as_the_kernel_tells_them() {
        assert_eq!(counted(0), "under 1024 calls");
        assert_eq!(counted(2048), "2048 to 3071 calls");
    }

    #[test]
    fn a_section_without_rows_is_not_there() {
        assert_eq!(Section::new("empty").known("a", None::<u32>).text(Palette::plain()), "");
    }
}
