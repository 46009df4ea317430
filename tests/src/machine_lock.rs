//! Keeps tests that need the whole machine away from all others.

use std::fs::File;

use anyhow::Result;

use crate::binaries;

/// A share of the machine, held until it is dropped. It is a file lock, so that it holds across test
/// processes too.
#[derive(Debug)]
pub struct MachineLock {
    _lock: File,
}

impl MachineLock {
    /// Takes a share beside other shared tests.
    ///
    /// # Errors
    ///
    /// The lock file cannot be written.
    pub fn shared() -> Result<Self> {
        let lock = lock_file()?;
        lock.lock_shared()?;
        Ok(Self { _lock: lock })
    }

    /// Takes the machine alone, as soon as no other test runs.
    ///
    /// # Errors
    ///
    /// As in [`MachineLock::shared`].
    pub fn exclusive() -> Result<Self> {
        let lock = lock_file()?;
        lock.lock()?;
        Ok(Self { _lock: lock })
    }
}

fn lock_file() -> Result<File> {
    Ok(File::create(binaries::directory()?.join("taskstats-tests.lock"))?)
}
