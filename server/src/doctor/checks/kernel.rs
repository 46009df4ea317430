//! Reports the kernel's release.

use crate::doctor::{Context, Finding};
use crate::taskstats::{Kernel, TaskId};

const NAME: &str = "kernel";

pub(super) fn check(context: &Context) -> Finding {
    let kernel = match &context.kernel {
        Ok(kernel) => kernel,
        Err(error) => return Finding::refused(NAME, error),
    };
    let release = kernel.release();
    match kernel.query(TaskId::Pid(std::process::id())) {
        Ok(own) => Finding::good(NAME, format!("{release}, taskstats version {}", own.version)),
        Err(_) => Finding::skipped(
            NAME,
            format!("{release}; its version of taskstats is unknown, because it cannot be queried"),
        ),
    }
}
