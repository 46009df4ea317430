//! Checks whether the agent is in the host's namespaces.

use crate::doctor::{Context, Finding};
use crate::taskstats::{Namespace, Placement};

pub(super) fn user(_: &Context) -> Finding {
    check("user namespace", Namespace::User, "capabilities in it do not count")
}

pub(super) fn pid(_: &Context) -> Finding {
    check("pid namespace", Namespace::Pid, "the kernel refuses registrations from it")
}

pub(super) fn network(_: &Context) -> Finding {
    check("network namespace", Namespace::Network, "the kernel sends no exits to it")
}

fn check(name: &'static str, namespace: Namespace, consequence: &str) -> Finding {
    match Placement::of_self(namespace) {
        Placement::Initial => Finding::good(name, "the host's"),
        Placement::Child => {
            let finding = format!("a child namespace, not the host's: {consequence}");
            Finding::bad(name, finding, namespace.into())
        }
        Placement::Hidden => Finding::skipped(
            name,
            "not known: /proc does not show the host's one; the self-test shows whether exits arrive",
        ),
    }
}
