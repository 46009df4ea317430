//! The file systems that the agent reads.

use std::path::Path;

use crate::advice::Cause;
use crate::doctor::{Context, Finding};

const NAME: &str = "procfs and sysfs";
/// What the agent cannot start without.
const NEEDED: [&str; 3] =
    ["/proc/self/stat", "/proc/sys/kernel/random/boot_id", "/sys/devices/system/cpu/possible"];

pub(super) fn check(_: &Context) -> Finding {
    match NEEDED.into_iter().find(|path| !Path::new(path).exists()) {
        None => Finding::good(NAME, "mounted"),
        Some(path) => Finding::bad(NAME, format!("{path} is not there"), Cause::PseudoFilesystems),
    }
}
