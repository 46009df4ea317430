//! Whether asking this kernel can bring it down.

use crate::advice::Cause;
use crate::doctor::{Context, Finding};
use crate::taskstats::KnownBad;

const NAME: &str = "known-bad kernels";

pub(super) fn check(context: &Context) -> Finding {
    let Ok(kernel) = &context.kernel else {
        return Finding::skipped(NAME, "not looked at: the kernel cannot be asked");
    };
    let Some(bug) = KnownBad::of(kernel.release()) else {
        return Finding::good(NAME, "this one is not known to panic on taskstats");
    };
    let finding = format!("this one, of {}, can panic on taskstats: {}", bug.name, bug.source);
    if context.args.ignore_known_bad_kernel {
        let ignored = format!("{finding}; --ignore-known-bad-kernel takes the risk");
        return Finding::warning(NAME, ignored, None);
    }
    Finding::bad(NAME, finding, Cause::KnownBadKernel)
}
