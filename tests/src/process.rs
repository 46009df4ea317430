//! What `/proc` shows of a process.

use std::fmt;
use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::deadline::within;
use crate::peer::Peer;

/// The state of a task that a signal stopped (`proc_pid_stat(5)`).
const STOPPED: &str = "T";
/// The state of a task that has ended, and of which its parent has not taken note.
const ENDED: &str = "Z";

/// Resets the largest size that a process had (`proc_pid_clear_refs(5)`).
const FORGET_PEAK: &str = "5";
/// The interval in which an idle process must use next to no CPU: many ticks of 10 ms, the kernel's
/// unit of CPU time.
const LOOK: Duration = Duration::from_millis(500);
/// The ticks that an idle process may use in that interval: one for each of a few wake-ups.
const REST: u64 = 5;

/// Resources that a process holds and has used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Vitals {
    /// Memory, KiB.
    pub resident_kib: u64,
    /// The peak of the memory since [`Vitals::begin`], KiB.
    pub peak_kib: u64,
    /// Open descriptors.
    pub descriptors: usize,
    /// Threads.
    pub threads: usize,
    /// CPU time, in ticks of 10 ms.
    pub ticks: u64,
}

impl Vitals {
    /// Reads the resources, and resets the peak.
    ///
    /// # Errors
    ///
    /// The process has ended.
    pub fn begin(pid: u32) -> Result<Self> {
        fs::write(format!("/proc/{pid}/clear_refs"), FORGET_PEAK)?;
        Self::of(pid)
    }

    /// Reads the resources.
    ///
    /// # Errors
    ///
    /// The process has ended.
    pub fn of(pid: u32) -> Result<Self> {
        Ok(Self {
            resident_kib: resident_kib(pid)?,
            peak_kib: status_kib(pid, "VmHWM:")?,
            descriptors: descriptors(pid)?,
            threads: threads(pid)?,
            ticks: ticks(pid)?,
        })
    }
}

impl fmt::Display for Vitals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { resident_kib, peak_kib, descriptors, threads, ticks } = self;
        write!(
            f,
            "{resident_kib} KiB (peak {peak_kib}), {descriptors} descriptors, {threads} threads, {ticks}0 ms of CPU"
        )
    }
}

/// Waits until a process is idle: it may wake now and then, but uses next to no CPU.
///
/// # Errors
///
/// The process remains busy, or has ended.
pub async fn becomes_idle(pid: u32) -> Result<()> {
    within("a process to rest", async {
        loop {
            let before = ticks(pid)?;
            tokio::time::sleep(LOOK).await;
            if ticks(pid)? - before <= REST {
                return Ok(());
            }
        }
    })
    .await?
}

/// Waits until a process has no more than so many descriptors open.
///
/// # Errors
///
/// The process keeps more open, or has ended.
pub async fn closes_descriptors(pid: u32, most: usize) -> Result<()> {
    within("descriptors to be closed", async {
        while descriptors(pid)? > most {
            tokio::task::yield_now().await;
        }
        Ok(())
    })
    .await?
}

/// Waits until a process has no more than so many threads.
///
/// # Errors
///
/// The process keeps more, or has ended.
pub async fn ends_threads(pid: u32, most: usize) -> Result<()> {
    within("threads to end", async {
        while threads(pid)? > most {
            tokio::task::yield_now().await;
        }
        Ok(())
    })
    .await?
}

/// Returns the children of a process.
///
/// # Errors
///
/// procfs cannot be read.
pub fn children(parent: u32) -> Result<Vec<u32>> {
    let entries =
        fs::read_dir("/proc")?.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let pids = entries.filter_map(|name| name.parse().ok());
    // A process can end meanwhile.
    Ok(pids.filter(|pid| parent_of(*pid).is_ok_and(|found| found == parent)).collect())
}

fn parent_of(pid: u32) -> Result<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let (_, rest) = stat.rsplit_once(") ").context("a process without name")?;
    Ok(rest.split(' ').nth(1).context("a short stat")?.parse()?)
}

fn state(pid: u32) -> Result<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let (_, rest) = stat.rsplit_once(") ").context("a process without name")?;
    Ok(rest.split(' ').next().context("a short stat")?.to_owned())
}

/// Waits until a process has ended. It need not be a child of this one.
///
/// # Errors
///
/// The process does not end.
pub async fn is_gone(pid: u32) -> Result<()> {
    within("a process to end", async {
        // The first process of a machine may be slow to take note of it.
        while state(pid).is_ok_and(|state| state != ENDED) {
            tokio::task::yield_now().await;
        }
        Ok(())
    })
    .await?
}

/// Returns the memory that a process holds, in KiB (`VmRSS`).
///
/// # Errors
///
/// The process has ended.
pub fn resident_kib(pid: u32) -> Result<u64> {
    status_kib(pid, "VmRSS:")
}

fn status_kib(pid: u32, name: &'static str) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let text = line.context(name)?.trim().trim_end_matches("kB").trim_end();
    Ok(text.parse()?)
}

/// User and system time (`proc_pid_stat(5)`, fields 14 and 15).
fn ticks(pid: u32) -> Result<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let (_, rest) = stat.rsplit_once(") ").context("a process without name")?;
    let mut fields = rest.split(' ').skip(11);
    let mut next = || Ok::<u64, anyhow::Error>(fields.next().context("a short stat")?.parse()?);
    Ok(next()? + next()?)
}

fn threads(pid: u32) -> Result<usize> {
    Ok(fs::read_dir(format!("/proc/{pid}/task"))?.count())
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

/// Returns the number of descriptors that a process may have open (`proc_pid_limits(5)`).
///
/// # Errors
///
/// The process has ended.
pub fn descriptor_limit(pid: u32) -> Result<usize> {
    let limits = fs::read_to_string(format!("/proc/{pid}/limits"))?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
    let soft = line.and_then(|line| line.split_whitespace().next());
    Ok(soft.context("no limit of open files")?.parse()?)
}

/// Limits the descriptors that a process can have open, by prlimit(1).
///
/// # Errors
///
/// The process has ended, or is another user's.
pub async fn set_descriptor_limit(pid: u32, limit: usize) -> Result<()> {
    let (pid, limit) = (format!("--pid={pid}"), format!("--nofile={limit}:"));
    let output = Peer::run("prlimit".as_ref(), [pid, limit]).await?;
    ensure!(output.code == Some(0), "{output:?}");
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

/// Continues a stopped process.
///
/// # Errors
///
/// The process has ended.
pub fn continue_process(pid: u32) -> Result<()> {
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
