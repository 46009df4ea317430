//! What `/proc` says of a process.

use std::fs;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::deadline::within;
use crate::peer::Peer;

/// The state of a task that a signal stopped (`proc_pid_stat(5)`).
const STOPPED: &str = "T";

/// Returns the memory that a process holds, in KiB (`VmRSS`).
///
/// # Errors
///
/// The process has ended.
pub fn resident_kib(pid: u32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let text = line.context("no VmRSS")?.trim().trim_end_matches("kB").trim_end();
    Ok(text.parse()?)
}

/// Returns the number of descriptors that a process has open.
///
/// # Errors
///
/// The process has ended.
pub fn descriptors(pid: u32) -> Result<usize> {
    Ok(fs::read_dir(format!("/proc/{pid}/fd"))?.count())
}

/// Returns the number that the next descriptor of a process will have: a limit of this leaves none.
///
/// # Errors
///
/// The process has ended.
pub fn next_descriptor(pid: u32) -> Result<usize> {
    let taken = |number: &usize| fs::symlink_metadata(format!("/proc/{pid}/fd/{number}")).is_ok();
    (0..descriptors(pid)? + 1).find(|number| !taken(number)).context("no end of descriptors")
}

/// Limits the descriptors that a process can have open, by prlimit(1).
///
/// # Errors
///
/// The process has ended, or is another user's.
pub async fn limit_descriptors(pid: u32, limit: usize) -> Result<()> {
    let (pid, limit) = (format!("--pid={pid}"), format!("--nofile={limit}:"));
    let said = Peer::run("prlimit".as_ref(), [pid, limit]).await?;
    ensure!(said.code == Some(0), "{said:?}");
    Ok(())
}

/// Stops a process, and waits until each of its threads stands still.
///
/// # Errors
///
/// The process has ended.
pub async fn pause(pid: u32) -> Result<()> {
    kill(Pid::from_raw(pid.try_into()?), Signal::SIGSTOP)?;
    within("a process to stand still", async {
        while !stands_still(pid)? {
            tokio::task::yield_now().await;
        }
        Ok(())
    })
    .await?
}

/// Lets a process go on.
///
/// # Errors
///
/// The process has ended.
pub fn go_on(pid: u32) -> Result<()> {
    Ok(kill(Pid::from_raw(pid.try_into()?), Signal::SIGCONT)?)
}

fn stands_still(pid: u32) -> Result<bool> {
    for entry in fs::read_dir(format!("/proc/{pid}/task"))? {
        let stat = fs::read_to_string(entry?.path().join("stat"))?;
        // The name before it may contain spaces and brackets.
        let (_, rest) = stat.rsplit_once(") ").context("a task without name")?;
        if rest.split(' ').next() != Some(STOPPED) {
            return Ok(false);
        }
    }
    Ok(true)
}
