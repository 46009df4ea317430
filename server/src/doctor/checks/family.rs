//! Checks whether the kernel has taskstats.

use crate::doctor::{Context, Finding};
use crate::taskstats::{KernelError, LinuxKernel};

const NAME: &str = "taskstats";

pub(super) fn check(context: &Context) -> Finding {
    match context.kernel.as_ref().map(LinuxKernel::find_family) {
        Ok(Ok(())) => Finding::good(NAME, "the kernel has the generic netlink family TASKSTATS"),
        Ok(Err(KernelError::KnownBadKernel { .. })) => {
            Finding::skipped(NAME, "not examined: this kernel must not be queried")
        }
        Ok(Err(error)) => Finding::refused(NAME, &error),
        Err(error) => Finding::refused(NAME, error),
    }
}
