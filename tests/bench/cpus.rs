//! The machine's CPUs.

use std::fs;

use anyhow::{Context, Result};

/// The kernel's file with the online CPUs.
const ONLINE: &str = "/sys/devices/system/cpu/online";

/// Returns the CPUs that run, ascending.
pub(crate) fn online() -> Result<Vec<u32>> {
    parse(&online_list()?)
}

/// Returns the CPUs that run, in the kernel's list form.
pub(crate) fn online_list() -> Result<String> {
    let list = fs::read_to_string(ONLINE).with_context(|| format!("read {ONLINE}"))?;
    Ok(list.trim().to_owned())
}

fn parse(list: &str) -> Result<Vec<u32>> {
    let mut cpus = Vec::new();
    for range in list.split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let parse = |text: &str| text.parse::<u32>().with_context(|| format!("CPU {text:?}"));
        cpus.extend(parse(first)?..=parse(last)?);
    }
    Ok(cpus)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The kernel writes both single CPUs and ranges.
    #[test]
    fn lists_are_ranges_and_single_cpus() {
        assert_eq!(parse("0-2,5").unwrap(), [0, 1, 2, 5]);
        assert!(parse("").is_err());
    }
}
