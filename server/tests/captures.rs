//! Messages of real kernels, decoded from captures of small workloads that `tests/kernels`
//! recorded.
//!
//! Beside each capture is a text file with the decoded statistics, which reveals changes of the
//! decoder. `BLESS=1` rewrites the text files. An independent decoder confirmed the statistics when
//! the captures were recorded.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::fs::{self, File};
use std::path::PathBuf;

use taskstatsd::capture::{CaptureEntry, CaptureHeader, CaptureReader};
use taskstatsd::taskstats::{
    DelayClass, Exit, Stats, TaskId, WaitStatus, decode_exit_message, decode_reply_message,
};

/// The version and size of the struct, and the kernel's series.
const CAPTURES: [(u16, usize, &str); 5] = [
    (10, 352, "5.10."),
    (13, 416, "6.1."),
    (14, 432, "6.12."),
    (16, 560, "6.18."),
    (17, 688, "7.2."),
];

/// The first version of each delay class, in order.
const CLASSES_SINCE: [u16; DelayClass::COUNT] = [1, 1, 1, 7, 9, 11, 13, 14];
/// The first version with a process' id, its elapsed time, and the executable.
const GROUP_FIELDS_SINCE: u16 = 12;
/// The first version in which a group's record of an exit includes exited tasks.
const EXITED_SUMMED_SINCE: u16 = 14;
/// The first version with the longest and the shortest wait.
const EXTREMES_SINCE: u16 = 15;
/// The first version with the time of the longest wait.
const MAX_AT_SINCE: u16 = 17;

/// The length of the netlink and generic netlink headers.
const MESSAGE_HEADERS: usize = 20;
/// The length of the headers of the nested attribute, of the id and of the record, and of the id.
const RECORD_HEADERS: usize = 16;
/// The kernel thread that was queried. It executes no file.
const KTHREADD: u32 = 2;
const NANOSECONDS: u64 = 1_000_000_000;
/// The tasks of a capture start at most this long before or after its start.
const MAX_DISTANCE_S: u64 = 600;
const SIGKILL: u32 = 9;
/// The workload reads a file of 1 MiB by blocks of 512 bytes; the kernel rounds to multiples of 1,024.
const IO_CALLS: u64 = 2048;

/// A decoded capture.
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
    let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/captures");
    directory.join(format!("v{version}.{ending}"))
}

fn captures() -> impl Iterator<Item = Decoded> {
    CAPTURES.into_iter().map(|(version, bytes, _)| Decoded::read(version, bytes))
}

#[test]
fn each_capture_is_of_the_kernel_in_its_name() {
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

/// Fields of every version have values that fit the captured workload.
#[test]
fn exits_fit_the_workload() {
    for capture in captures() {
        let begun = capture.header.begun_at_ns / NANOSECONDS;
        let exits = capture.exits();
        for (exit, _) in &exits {
            let task = exit.task.identity.task.as_ref().expect("an identity");
            assert_eq!(task.comm.as_bytes(), b"workload");
            assert!(exit.task.identity.pid > Some(0), "{:?}", exit.task.identity);
            assert_eq!((task.uid, task.gid, task.nice, task.scheduler), (0, 0, 0, 0));
            let began = u64::try_from(task.begin_time_s).expect("after 1970");
            assert!(began.abs_diff(begun) < MAX_DISTANCE_S, "{began}, {begun}");
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

/// Each CPU numbers its messages. A task that is pre-empted between the numbering and the sending
/// is overtaken, as in v17's capture.
#[test]
fn each_cpu_numbers_its_exits() {
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
fn a_version_has_its_fields_and_no_others() {
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
                // A wait can be shorter than the clock's resolution.
                let Some(delay) = delay.filter(|delay| delay.total_ns > 0) else { continue };
                has_waited = true;
                assert_eq!(delay.extremes.is_some(), since(EXTREMES_SINCE), "{delay:?}");
                let max_at = delay.extremes.and_then(|extremes| extremes.max_at);
                assert_eq!(max_at.is_some(), since(MAX_AT_SINCE), "{delay:?}");
            }
        }
        assert!(has_waited, "v{}: the capture has no delays", capture.version);
    }
}

#[test]
fn groups_have_only_the_fields_that_the_kernel_sums() {
    for capture in captures() {
        let exits = capture.exits();
        let sums_exited = capture.version >= EXITED_SUMMED_SINCE;
        let mut groups: Vec<(u32, Stats)> = Vec::new();
        for (exit, _) in &exits {
            let Some(process) = &exit.process else { continue };
            assert_eq!(exit.last_in_process(), Some(true));
            let tgid = process.identity.tgid.expect("a tgid");
            assert!(exit.task.identity.tgid.is_none_or(|of_task| of_task == tgid));
            assert_eq!(process.context_switches.is_some(), sums_exited, "v{}", capture.version);
            assert_eq!(process.cpu.user_us.is_some(), sums_exited, "v{}", capture.version);
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
fn replies_have_the_queried_tasks() {
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

/// Compares every field of every message with the text file.
#[test]
fn decoded_captures_match_their_text_files() {
    for capture in captures() {
        let (text, path) = (as_text(&capture), path(capture.version, "txt"));
        if std::env::var_os("BLESS").is_some() {
            fs::write(&path, &text).expect("a file");
        }
        let expected = fs::read_to_string(&path).expect("a text file; BLESS=1 writes it");
        for (line, (expected, found)) in expected.lines().zip(text.lines()).enumerate() {
            assert_eq!(found, expected, "{}:{}", path.display(), line + 1);
        }
        assert_eq!(text, expected, "{}", path.display());
    }
}

fn as_text(capture: &Decoded) -> String {
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

/// Appends a line for each group of fields.
fn append(text: &mut String, title: &str, stats: &Stats) {
    text.push('\n');
    let mut line = |name: &str, value: String| {
        writeln!(text, "{name}: {value}").expect("writing to a string never fails");
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
