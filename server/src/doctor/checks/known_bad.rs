//! Checks whether this kernel is known to panic on taskstats.

use crate::advice::Cause;
use crate::doctor::{Context, Finding};
use crate::taskstats::KnownBad;

const NAME: &str = "known-bad kernels";

pub(super) fn check(context: &Context) -> Finding {
    let Ok(kernel) = &context.kernel else {
        return Finding::skipped(NAME, "not examined: the kernel cannot be queried");
    };
    let Some(bug) = KnownBad::of(kernel.release()) else {
        return Finding::good(NAME, "this kernel is not one of them");
    };
    let finding = format!("this kernel, of {}, can panic on taskstats: {}", bug.name, bug.source);
    if context.args.ignore_known_bad_kernel {
        let ignored = format!("{finding}; --ignore-known-bad-kernel is set, so it is queried");
        return Finding::warning(NAME, ignored, None);
    }
    Finding::bad(NAME, finding, Cause::KnownBadKernel)
}
