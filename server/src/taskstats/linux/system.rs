//! CPUs and tasks, from procfs and sysfs.

use std::fs;
use std::io;

use super::failed;
use crate::taskstats::{Cpumask, KernelError, TaskId};

const POSSIBLE_CPUS: &str = "/sys/devices/system/cpu/possible";
const ONLINE_CPUS: &str = "/sys/devices/system/cpu/online";
const RELEASE: &str = "/proc/sys/kernel/osrelease";

/// Returns the CPUs that this machine can ever have.
pub(super) fn possible_cpus() -> Result<Cpumask, KernelError> {
    read_cpus(POSSIBLE_CPUS)
}

/// Returns the CPUs that are online.
pub(super) fn online_cpus() -> Result<Cpumask, KernelError> {
    read_cpus(ONLINE_CPUS)
}

/// Returns the kernel's release. procfs is preferred because `personality(2)` can change the result
/// of `uname(2)`.
pub(super) fn release() -> String {
    let by_uname = || {
        let name = nix::sys::utsname::uname().ok();
        name.map(|name| name.release().to_string_lossy().into_owned()).unwrap_or_default()
    };
    let release = fs::read_to_string(RELEASE);
    release.map_or_else(|_| by_uname(), |release| release.trim().to_owned())
}

/// Returns the live threads of a group, ascending.
pub(super) fn threads(tgid: u32) -> Result<Vec<u32>, KernelError> {
    let entries =
        fs::read_dir(format!("/proc/{tgid}/task")).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => KernelError::NoSuchTask(TaskId::Tgid(tgid)),
            _ => failed("reading /proc/<tgid>/task", source),
        })?;
    // If the group exits meanwhile, the directory has no more entries or reading an entry fails.
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let mut threads: Vec<u32> = names.filter_map(|name| name.parse().ok()).collect();
    threads.sort_unstable();
    Ok(threads)
}

fn read_cpus(path: &'static str) -> Result<Cpumask, KernelError> {
    let list = fs::read_to_string(path).map_err(|source| failed(path, source))?;
    Cpumask::from_sysfs_list(&list)
        .map_err(|error| failed(path, io::Error::new(io::ErrorKind::InvalidData, error)))
}
