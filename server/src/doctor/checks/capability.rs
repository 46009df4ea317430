//! Checks whether the agent may query the kernel.

use capctl::caps::{Cap, CapState};

use crate::advice::Cause;
use crate::doctor::{Context, Finding};
use crate::taskstats::{Kernel, KernelError, TaskId};

const NAME: &str = "CAP_NET_ADMIN";

pub(super) fn check(context: &Context) -> Finding {
    let held = match CapState::get_current() {
        Ok(state) => state.effective.has(Cap::NET_ADMIN),
        Err(error) => {
            let finding = format!("capget(2) failed: {error}");
            return Finding::bad(NAME, finding, Cause::Unknown);
        }
    };
    if !held {
        return Finding::bad(NAME, "not among the effective capabilities", Cause::Capability);
    }
    let Ok(kernel) = &context.kernel else { return Finding::good(NAME, "effective") };
    match kernel.query(TaskId::Pid(std::process::id())) {
        Ok(_) => Finding::good(NAME, "effective, and the kernel accepts a query"),
        Err(KernelError::NotPermitted { .. }) => Finding::bad(
            NAME,
            "held in a child user namespace alone, where it does not count: a query failed with EPERM",
            Cause::UserNamespace,
        ),
        // Another check reports the reason.
        Err(_) => Finding::good(NAME, "effective; no query was possible to confirm it"),
    }
}
