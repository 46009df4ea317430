//! CPU time, memory and wake-ups of a process, from procfs.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::time::clock_getcpuclockid;
use nix::unistd::Pid;

/// Returns the user and system time of a process, its ended threads included.
///
/// This is the process's CPU clock, in nanoseconds; `/proc/<pid>/stat` counts ticks of 10 ms.
pub(crate) fn cpu_time(pid: Pid) -> Result<Duration> {
    let clock = clock_getcpuclockid(pid).context("find the CPU clock of a process")?;
    Ok(clock.now().context("read the CPU clock of a process")?.into())
}

/// Returns the resident memory of a process, in KiB.
pub(crate) fn resident_kib(pid: Pid) -> Result<u64> {
    field(&read(&format!("/proc/{pid}/status"))?, "VmRSS:")
}

/// Returns how often a process's present threads woke: each wake-up ends in a voluntary switch.
pub(crate) fn wake_ups(pid: Pid) -> Result<u64> {
    let mut wake_ups = 0;
    let tasks = format!("/proc/{pid}/task");
    for task in fs::read_dir(&tasks).with_context(|| format!("list {tasks}"))? {
        let status = read(&task?.path().join("status").to_string_lossy())?;
        wake_ups += field(&status, "voluntary_ctxt_switches:")?;
    }
    Ok(wake_ups)
}

fn read(path: &str) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("read {path}"))
}

fn field(status: &str, name: &str) -> Result<u64> {
    let value = status.lines().find_map(|line| line.strip_prefix(name));
    let value = value.and_then(|text| text.split_whitespace().next());
    value.with_context(|| format!("no {name}"))?.parse().with_context(|| format!("read {name}"))
}
