//! What procfs and sysfs say of this machine.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};

use super::failed;
use crate::taskstats::{Cpumask, DelayAccounting, KernelError, Namespace, TaskId};

const POSSIBLE_CPUS: &str = "/sys/devices/system/cpu/possible";
const ONLINE_CPUS: &str = "/sys/devices/system/cpu/online";
/// Absent before 5.14.
const DELAY_ACCOUNTING: &str = "/proc/sys/kernel/task_delayacct";

/// `PROC_PID_INIT_INO` of the kernel's `include/linux/proc_ns.h`.
const INITIAL_PID_NAMESPACE: u64 = 0xEFFF_FFFC;
/// `PROC_USER_INIT_INO`.
const INITIAL_USER_NAMESPACE: u64 = 0xEFFF_FFFD;
/// `NET_NS_INIT_INO`, since 6.18; before, the number differs from boot to boot.
const INITIAL_NETWORK_NAMESPACE: u64 = 0xEFFF_FFF9;

/// Facts of the machine, and files that tell those that change.
#[derive(Debug)]
pub(super) struct System {
    possible_cpus: Cpumask,
    /// Kept open, because it is read with every answer. `None` where the kernel has none.
    delay_accounting: Option<File>,
}

impl System {
    pub(super) fn new() -> Result<Self, KernelError> {
        let possible_cpus = read_cpus(POSSIBLE_CPUS)?;
        Ok(Self { possible_cpus, delay_accounting: File::open(DELAY_ACCOUNTING).ok() })
    }

    pub(super) fn possible_cpus(&self) -> &Cpumask {
        &self.possible_cpus
    }

    pub(super) fn delay_accounting(&self) -> DelayAccounting {
        let mut digit = [0];
        let read = self.delay_accounting.as_ref().map(|file| file.read_at(&mut digit, 0));
        match (read, digit) {
            (Some(Ok(1)), [b'0']) => DelayAccounting::Off,
            (Some(Ok(1)), [b'1']) => DelayAccounting::On,
            _ => DelayAccounting::Unknown,
        }
    }
}

/// The CPUs that run now.
pub(super) fn online_cpus() -> Result<Cpumask, KernelError> {
    read_cpus(ONLINE_CPUS)
}

/// The live threads of a group, ascending.
pub(super) fn threads(tgid: u32) -> Result<Vec<u32>, KernelError> {
    let entries =
        fs::read_dir(format!("/proc/{tgid}/task")).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => KernelError::NoSuchTask(TaskId::Tgid(tgid)),
            _ => failed("reading /proc/<tgid>/task", source),
        })?;
    // A group that ends while its folder is read leaves no entry, or an error in its place.
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let mut threads: Vec<u32> = names.filter_map(|name| name.parse().ok()).collect();
    threads.sort_unstable();
    Ok(threads)
}

/// The namespace in which exits do not arrive although the kernel may accept the registration, if
/// this process is in one. To be asked while procfs still shows it: others' namespaces are closed to
/// a process that gave up its rights.
///
/// Exits are unicast in the initial network namespace only (`kernel/taskstats.c`,
/// `send_cpu_listeners`); a registration is refused outside the initial pid and user namespaces.
pub(super) fn misplaced() -> Option<Namespace> {
    if namespace("user").is_some_and(|inode| inode != INITIAL_USER_NAMESPACE) {
        return Some(Namespace::User);
    }
    if namespace("pid").is_some_and(|inode| inode != INITIAL_PID_NAMESPACE) {
        return Some(Namespace::Pid);
    }
    match (namespace("net"), inode("/proc/1/ns/net")) {
        (Some(INITIAL_NETWORK_NAMESPACE), _) | (None, _) | (_, None) => None,
        (Some(own), Some(initial)) if own == initial => None,
        _ => Some(Namespace::Network),
    }
}

/// The inode of one of our own namespaces, which is its identity.
fn namespace(name: &str) -> Option<u64> {
    inode(&format!("/proc/self/ns/{name}"))
}

fn inode(path: &str) -> Option<u64> {
    fs::metadata(path).ok().map(|metadata| metadata.ino())
}

fn read_cpus(path: &'static str) -> Result<Cpumask, KernelError> {
    let list = fs::read_to_string(path).map_err(|source| failed(path, source))?;
    Cpumask::from_sysfs_list(&list)
        .map_err(|error| failed(path, io::Error::new(io::ErrorKind::InvalidData, error)))
}
