//! Keeps tests that need the whole machine apart from all other tests.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// The kernel's name of the agent.
const AGENT: &str = "taskstatsd";
/// The directory of lock files that all processes of a machine share (`hier(7)`).
const LOCK_DIRECTORY: &str = "/run/lock";

/// A share of the machine, held until it is dropped.
///
/// All clones of the repository lock the same file, because the tests of one clone disturb those of
/// another.
#[derive(Debug)]
pub struct MachineLock {
    _lock: File,
}

impl MachineLock {
    /// Acquires the machine together with other tests that share it.
    ///
    /// # Errors
    ///
    /// The lock file cannot be written.
    pub fn shared() -> Result<Self> {
        acquire(File::try_lock_shared, File::lock_shared)
    }

    /// Acquires the machine once no other test runs, and prints what else runs there.
    ///
    /// # Errors
    ///
    /// The lock file cannot be written.
    pub fn exclusive() -> Result<Self> {
        let lock = acquire(File::try_lock, File::lock)?;
        if let Some(others) = others()? {
            eprintln!("this test wants the machine to itself, but beside it {others}");
        }
        Ok(lock)
    }
}

fn acquire(
    try_lock: impl Fn(&File) -> Result<(), TryLockError>,
    lock: impl Fn(&File) -> io::Result<()>,
) -> Result<MachineLock> {
    let path = lock_path();
    let file = File::create(&path).with_context(|| format!("open {}", path.display()))?;
    match try_lock(&file) {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            eprintln!("waiting for other tests, which lock {}", path.display());
            lock(&file)?;
        }
        Err(TryLockError::Error(error)) => return Err(error.into()),
    }
    Ok(MachineLock { _lock: file })
}

fn lock_path() -> PathBuf {
    let directory = Path::new(LOCK_DIRECTORY);
    let directory = if directory.is_dir() { directory.to_owned() } else { std::env::temp_dir() };
    directory.join("taskstats-tests.lock")
}

/// Describes what may disturb a test that is alone: agents, which register for the same exits, and
/// tasks that use a CPU. `None` if there is nothing.
fn others() -> io::Result<Option<String>> {
    let mut agents = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let path = entry?.path();
        // Entries that are no processes, or have ended, have no name.
        if fs::read_to_string(path.join("comm")).is_ok_and(|name| name.trim_end() == AGENT) {
            agents.extend(path.file_name().map(|pid| pid.to_string_lossy().into_owned()));
        }
    }
    let load = fs::read_to_string("/proc/loadavg")?;
    // The fourth field is `running/all`; this thread is one of the running tasks.
    let running = load.split(' ').nth(3).and_then(|field| field.split('/').next());
    let running = running.and_then(|count| count.parse::<u64>().ok()).unwrap_or(1).max(1) - 1;
    if agents.is_empty() && running == 0 {
        return Ok(None);
    }
    Ok(Some(format!("{AGENT} processes run: {agents:?}, and {running} tasks want a CPU")))
}
