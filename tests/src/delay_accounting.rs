//! The switch of delay accounting, which the whole machine shares.

use std::fs;

use anyhow::Result;

use crate::machine_lock::MachineLock;

const SWITCH: &str = "/proc/sys/kernel/task_delayacct";

/// The switch, held alone: no other test runs meanwhile. Dropping it puts it back as it was.
#[derive(Debug)]
pub struct DelayAccountingSwitch {
    before: String,
    _lock: MachineLock,
}

impl DelayAccountingSwitch {
    /// Waits for all other tests to end, and turns the switch off.
    ///
    /// # Errors
    ///
    /// The kernel has no such sysctl, or this process is not root.
    pub fn off() -> Result<Self> {
        let load = MachineLock::exclusive()?;
        let switch = Self { before: fs::read_to_string(SWITCH)?, _lock: load };
        switch.set(false)?;
        Ok(switch)
    }

    /// Sets it.
    ///
    /// # Errors
    ///
    /// This is not root.
    pub fn set(&self, on: bool) -> Result<()> {
        Ok(fs::write(SWITCH, if on { "1\n" } else { "0\n" })?)
    }

    /// Returns true if delay accounting is on.
    ///
    /// # Errors
    ///
    /// The sysctl cannot be read.
    pub fn is_on(&self) -> Result<bool> {
        Ok(fs::read_to_string(SWITCH)?.trim() == "1")
    }
}

impl Drop for DelayAccountingSwitch {
    fn drop(&mut self) {
        if let Err(error) = fs::write(SWITCH, &self.before) {
            eprintln!("kernel.task_delayacct was not put back: {error}");
        }
    }
}
