//! Checks the pseudo file systems that the agent reads.

use std::path::Path;

use crate::advice::Cause;
use crate::doctor::{Context, Finding};

const NAME: &str = "procfs and sysfs";
/// The files without which the agent does not start.
const NEEDED: [&str; 3] =
    ["/proc/self/stat", "/proc/sys/kernel/random/boot_id", "/sys/devices/system/cpu/possible"];

pub(super) fn check(_: &Context) -> Finding {
    match NEEDED.into_iter().find(|path| !Path::new(path).exists()) {
        None => Finding::good(NAME, "mounted"),
        Some(path) => {
            Finding::bad(NAME, format!("{path} does not exist"), Cause::PseudoFilesystems)
        }
    }
}
