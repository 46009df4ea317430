//! What the kernel knows of a process: CPU time, memory, context switches.

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

/// Returns the voluntary and involuntary context switches of a process's present threads.
pub(crate) fn context_switches(pid: Pid) -> Result<u64> {
    let mut switches = 0;
    let tasks = format!("/proc/{pid}/task");
    for task in fs::read_dir(&tasks).with_context(|| format!("list {tasks}"))? {
        let status = read(&task?.path().join("status").to_string_lossy())?;
        switches += field(&status, "voluntary_ctxt_switches:")?;
        switches += field(&status, "nonvoluntary_ctxt_switches:")?;
    }
    Ok(switches)
}

fn read(path: &str) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("read {path}"))
}

fn field(status: &str, name: &str) -> Result<u64> {
    let value = status.lines().find_map(|line| line.strip_prefix(name));
    let value = value.and_then(|text| text.split_whitespace().next());
    value.with_context(|| format!("no {name}"))?.parse().with_context(|| format!("read {name}"))
}
