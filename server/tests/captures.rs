//! Real messages of real kernels, decoded: captures of small workloads, taken by `tests/kernels`.
//!
//! Beside each capture stands what it was decoded to, in words, so that a change of the decoder is seen.
//! `BLESS=1` writes that anew. That the decoder is right was compared with an independent reading when
//! the captures were taken.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::fs::{self, File};
use std::path::PathBuf;

use taskstatsd::capture::{CaptureEntry, CaptureHeader, CaptureReader};
use taskstatsd::taskstats::{
    DelayClass, Exit, Stats, TaskId, WaitStatus, decode_exit_message, decode_reply_message,
};

/// The struct's version and size, and the kernel's series.
const CAPTURES: [(u16, usize, &str); 5] = [
    (10, 352, "5.10."),
    (13, 416, "6.1."),
    (14, 432, "6.12."),
    (16, 560, "6.18."),
    (17, 688, "7.2."),
];

/// Since when there is each class, in order.
const CLASSES_SINCE: [u16; DelayClass::COUNT] = [1, 1, 1, 7, 9, 11, 13, 14];
/// Since when there are a process' id and elapsed time, and the executable.
const GROUP_FIELDS_SINCE: u16 = 12;
/// Since when a group's record of an exit has the times and the context switches of the dead.
const DEAD_SUMMED_SINCE: u16 = 14;
/// Since when there are the longest and the shortest wait.
const EXTREMES_SINCE: u16 = 15;
/// Since when there is the moment of the longest wait.
const MAX_AT_SINCE: u16 = 17;

/// Headers of netlink and generic netlink.
const MESSAGE_HEADERS: usize = 20;
/// Headers of the nest, of the id and of the record, and the id.
const RECORD_HEADERS: usize = 16;
/// The kernel thread that was asked for: it executes no file.
const KTHREADD: u32 = 2;
const NANOSECONDS: u64 = 1_000_000_000;
/// The tasks of a capture begin within this time before and after it began.
const SECONDS_AROUND: u64 = 600;
const SIGKILL: u32 = 9;
/// The workload reads a file of 1 MiB by blocks of 512 bytes; the kernel rounds to multiples of 1,024.
const IO_CALLS: u64 = 2048;

/// A capture, decoded.
struct Decoded {
    header: CaptureHeader,
    version: u16,
    struct_bytes: usize,
    entries: Vec<CaptureEntry>,
}

impl Decoded {
    fn read(version: u16, struct_bytes: usize) -> Self {
        let file = File::open(path(version, "capture")).expect("a capture");
        let reader = CaptureReader::new(file).expect("a header");
        let header = reader.header().clone();
        let entries = reader.collect::<Result<_, _>>().expect("a whole capture");
        Self { header, version, struct_bytes, entries }
    }

    fn exits(&self) -> Vec<(Exit, usize)> {
        let exit = |entry: &CaptureEntry| match entry {
            CaptureEntry::Exit { cpu, message, .. } => {
                Some((decode_exit_message(message, *cpu).expect("an exit"), message.len()))
            }
            _ => None,
        };
        self.entries.iter().filter_map(exit).collect()
    }

    fn replies(&self) -> Vec<(TaskId, Stats, usize)> {
        let reply = |entry: &CaptureEntry| match entry {
            CaptureEntry::Reply { id, message, .. } => {
                let stats = decode_reply_message(message, *id).expect("a reply");
                Some((*id, stats, message.len()))
            }
            _ => None,
        };
        self.entries.iter().filter_map(reply).collect()
    }

    fn message_bytes(&self, records: usize) -> usize {
        MESSAGE_HEADERS + records * (RECORD_HEADERS + self.struct_bytes)
    }
}

fn path(version: u16, ending: &str) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/captures");
    folder.join(format!("v{version}.{ending}"))
}

fn captures() -> impl Iterator<Item = Decoded> {
    CAPTURES.into_iter().map(|(version, bytes, _)| Decoded::read(version, bytes))
}

#[test]
fn each_capture_is_of_the_kernel_it_is_named_after() {
    for (version, bytes, series) in CAPTURES {
        let header = Decoded::read(version, bytes).header;
        assert_eq!(header.taskstats_version, version);
        assert!(header.kernel_release.starts_with(series), "{}", header.kernel_release);
        assert_eq!(header.cpus, "0-1");
    }
}

#[test]
fn messages_have_the_sizes_of_their_version() {
    for capture in captures() {
        for (exit, bytes) in capture.exits() {
            let records = if exit.process.is_some() { 2 } else { 1 };
            assert_eq!(bytes, capture.message_bytes(records), "v{}", capture.version);
        }
        for (_, _, bytes) in capture.replies() {
            assert_eq!(bytes, capture.message_bytes(1), "v{}", capture.version);
        }
    }
}

/// What every version has is there, and makes sense for the workload that was captured.
#[test]
fn exits_make_sense() {
    for capture in captures() {
        let begun = capture.header.begun_at_ns / NANOSECONDS;
        let exits = capture.exits();
        for (exit, _) in &exits {
            let task = exit.task.identity.task.as_ref().expect("an identity");
            assert_eq!(task.comm.as_bytes(), b"workload");
            assert!(exit.task.identity.pid > Some(0), "{:?}", exit.task.identity);
            assert_eq!((task.uid, task.gid, task.nice, task.scheduler), (0, 0, 0, 0));
            let began = u64::try_from(task.begin_time_s).expect("after 1970");
            assert!(began.abs_diff(begun) < SECONDS_AROUND, "{began}, {begun}");
            assert!(exit.task.elapsed_us > Some(0) && exit.task.cpu.run_virtual_ns > Some(0));
            assert!(exit.task.unknown_tail.is_empty());
        }
        let statuses: Vec<_> = exits.iter().filter_map(|exit| exit.0.task.exit_status).collect();
        assert_eq!(statuses.len(), exits.len());
        assert!(statuses.iter().any(|status| WaitStatus(*status).code() == Some(7)));
        assert!(statuses.iter().any(|status| WaitStatus(*status).signal() == Some(SIGKILL)));
        let calls = exits.iter().filter_map(|exit| exit.0.task.io).map(|io| io.read_syscalls);
        assert!(calls.max() >= Some(IO_CALLS), "v{}", capture.version);
    }
}

/// The kernel numbers the messages of each CPU. One that is pre-empted between the number and the sending
/// is overtaken, as v17's capture shows.
#[test]
fn each_cpu_counts_its_exits() {
    for capture in captures() {
        for cpu in 0..2 {
            let exits = capture.exits().into_iter().map(|exit| exit.0);
            let numbers = exits.filter(|exit| exit.cpu == cpu).map(|exit| exit.kernel_sequence);
            let (numbers, different): (Vec<_>, BTreeSet<_>) = numbers.map(|it| (it, it)).unzip();
            assert!(!numbers.is_empty(), "v{}: no exits on CPU {cpu}", capture.version);
            assert_eq!(numbers.len(), different.len(), "v{}: {numbers:?}", capture.version);
        }
    }
}

#[test]
fn what_the_version_has_is_there_and_what_it_lacks_is_absent() {
    for capture in captures() {
        let since = |first: u16| capture.version >= first;
        let tasks = capture.exits().into_iter().map(|exit| exit.0.task);
        let mut has_waited = false;
        for task in tasks {
            assert_eq!(task.version, capture.version);
            assert_eq!(task.identity.tgid.is_some(), since(GROUP_FIELDS_SINCE));
            assert_eq!(task.group_elapsed_us.is_some(), since(GROUP_FIELDS_SINCE));
            assert_eq!(task.executable.is_some(), since(GROUP_FIELDS_SINCE));
            assert!(task.faults.is_some() && task.memory.is_some() && task.io.is_some());
            for (delay, first) in task.delays.iter().zip(CLASSES_SINCE) {
                assert_eq!(delay.is_some(), since(first), "v{}", capture.version);
                // A wait can be shorter than the clock sees.
                let Some(delay) = delay.filter(|delay| delay.total_ns > 0) else { continue };
                has_waited = true;
                assert_eq!(delay.extremes.is_some(), since(EXTREMES_SINCE), "{delay:?}");
                let max_at = delay.extremes.and_then(|extremes| extremes.max_at);
                assert_eq!(max_at.is_some(), since(MAX_AT_SINCE), "{delay:?}");
            }
        }
        assert!(has_waited, "v{}: a capture without delays shows nothing", capture.version);
    }
}

#[test]
fn groups_have_what_the_kernel_sums_and_nothing_else() {
    for capture in captures() {
        let exits = capture.exits();
        let sums_the_dead = capture.version >= DEAD_SUMMED_SINCE;
        let mut groups: Vec<(u32, Stats)> = Vec::new();
        for (exit, _) in &exits {
            let Some(process) = &exit.process else { continue };
            assert_eq!(exit.last_in_process(), Some(true));
            let tgid = process.identity.tgid.expect("a tgid");
            assert!(exit.task.identity.tgid.is_none_or(|of_task| of_task == tgid));
            assert_eq!(process.context_switches.is_some(), sums_the_dead, "v{}", capture.version);
            assert_eq!(process.cpu.user_us.is_some(), sums_the_dead, "v{}", capture.version);
            groups.push((tgid, Stats::clone(process)));
        }
        assert!(!groups.is_empty(), "v{}: no group ended", capture.version);
        for (id, stats, _) in capture.replies() {
            if let TaskId::Tgid(tgid) = id {
                assert!(stats.context_switches.is_some(), "v{}", capture.version);
                groups.push((tgid, stats));
            }
        }
        for (tgid, stats) in groups {
            assert_eq!((stats.version, stats.identity.tgid), (capture.version, Some(tgid)));
            assert_eq!((stats.identity.pid, stats.identity.task), (None, None));
            assert_eq!((stats.faults, stats.memory, stats.io), (None, None, None));
            assert_eq!((stats.elapsed_us, stats.exit_status, stats.executable), (None, None, None));
            assert!(stats.cpu.run_virtual_ns > Some(0));
        }
    }
}

#[test]
fn live_tasks_are_those_that_were_asked_for() {
    for capture in captures() {
        let replies = capture.replies();
        let tasks: Vec<_> =
            replies.iter().filter(|reply| matches!(reply.0, TaskId::Pid(_))).collect();
        assert_eq!((replies.len(), tasks.len()), (3, 2));
        for (id, stats, _) in tasks {
            let TaskId::Pid(pid) = *id else { continue };
            assert_eq!((stats.identity.pid, stats.exit_status), (Some(pid), None));
            let is_kernel_thread = pid == KTHREADD;
            let has_executable = capture.version >= GROUP_FIELDS_SINCE && !is_kernel_thread;
            assert_eq!(stats.executable.is_some(), has_executable, "v{}", capture.version);
            let comm = stats.identity.task.as_ref().map(|task| task.comm);
            let expected: &[u8] = if is_kernel_thread { b"kthreadd" } else { b"workload" };
            assert_eq!(comm.expect("a name").as_bytes(), expected);
        }
    }
}

/// Every field of every message, in words.
#[test]
fn captures_are_decoded_as_they_were() {
    for capture in captures() {
        let (words, path) = (in_words(&capture), path(capture.version, "txt"));
        if std::env::var_os("BLESS").is_some() {
            fs::write(&path, &words).expect("a file");
        }
        let expected =
            fs::read_to_string(&path).expect("what it was decoded to; BLESS=1 writes it");
        for (line, (expected, found)) in expected.lines().zip(words.lines()).enumerate() {
            assert_eq!(found, expected, "{}:{}", path.display(), line + 1);
        }
        assert_eq!(words, expected, "{}", path.display());
    }
}

fn in_words(capture: &Decoded) -> String {
    let CaptureHeader { taskstats_version, begun_at_ns, kernel_release, cpus } = &capture.header;
    let mut text = format!(
        "Linux {kernel_release}, taskstats v{taskstats_version}, CPUs {cpus}, begun at {begun_at_ns} ns\n"
    );
    for (id, stats, _) in capture.replies() {
        append(&mut text, &format!("reply for {id}"), &stats);
    }
    for (exit, _) in capture.exits() {
        let last = exit.last_in_process();
        let title = format!("exit {} of CPU {}, last {last:?}", exit.kernel_sequence, exit.cpu);
        append(&mut text, &title, &exit.task);
        if let Some(process) = &exit.process {
            append(&mut text, "with its group", process);
        }
    }
    text
}

/// Adds a line for each group of fields.
fn append(text: &mut String, title: &str, stats: &Stats) {
    text.push('\n');
    let mut line = |name: &str, value: String| {
        writeln!(text, "{name}: {value}").expect("a string takes all");
    };
    let task = stats.identity.task.as_ref();
    let ids = (stats.identity.pid, stats.identity.tgid);
    line(title, format!("v{}, pid and tgid {ids:?}", stats.version));
    if let Some(task) = task {
        let comm = String::from_utf8_lossy(task.comm.as_bytes());
        let ids = (task.ppid, task.uid, task.gid);
        let rest = (task.nice, task.scheduler, task.flags, task.begin_time_s);
        line(
            "task",
            format!(
                "{comm}, parent, user and group {ids:?}, nice, scheduler, flags and begin {rest:?}"
            ),
        );
    }
    line(
        "status, elapsed, of group",
        format!("{:?}", (stats.exit_status, stats.elapsed_us, stats.group_elapsed_us)),
    );
    line("cpu", format!("{:?}", stats.cpu));
    line("faults", format!("{:?}", stats.faults));
    line("memory", format!("{:?}", stats.memory));
    line("io", format!("{:?}", stats.io));
    line("switches", format!("{:?}", stats.context_switches));
    line("executable", format!("{:?}", stats.executable));
    for class in DelayClass::ALL {
        line(&format!("{class:?}"), format!("{:?}", stats.delays[class as usize]));
    }
}
