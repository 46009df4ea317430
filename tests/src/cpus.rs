//! The CPUs of this machine.

use std::fs;

use anyhow::{Context, Result};

/// Returns the CPUs that run now, in order.
///
/// # Errors
///
/// `/sys` cannot be read.
pub fn online() -> Result<Vec<u32>> {
    let list = online_list()?;
    let mut cpus = Vec::new();
    for range in list.split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        cpus.extend(first.parse::<u32>()?..=last.parse()?);
    }
    Ok(cpus)
}

/// Returns the CPUs that run now, in the kernel's list form.
///
/// # Errors
///
/// `/sys` cannot be read.
pub fn online_list() -> Result<String> {
    read("online")
}

/// Returns the possible CPUs of the machine, in the kernel's list format.
///
/// # Errors
///
/// `/sys` cannot be read.
pub fn possible_list() -> Result<String> {
    read("possible")
}

fn read(which: &str) -> Result<String> {
    let path = format!("/sys/devices/system/cpu/{which}");
    Ok(fs::read_to_string(&path).context(path)?.trim().to_owned())
}
