//! The namespaces of the agent.

use std::fs;
use std::os::unix::fs::MetadataExt;

use crate::taskstats::Namespace;

/// `PROC_PID_INIT_INO` of the kernel's `include/linux/proc_ns.h`.
const INITIAL_PID_NAMESPACE: u64 = 0xEFFF_FFFC;
/// `PROC_USER_INIT_INO`.
const INITIAL_USER_NAMESPACE: u64 = 0xEFFF_FFFD;
/// `NET_NS_INIT_INO`, since 6.18. In earlier releases the number differs between boots.
const INITIAL_NETWORK_NAMESPACE: u64 = 0xEFFF_FFF9;

/// The relation of a process to the machine's initial namespace of a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Placement {
    /// The process is in the initial namespace.
    Initial,
    /// The process is in another namespace.
    Child,
    /// procfs does not show the namespace.
    Hidden,
}

impl Placement {
    /// Returns the relation of this process.
    #[must_use]
    pub(crate) fn of_self(namespace: Namespace) -> Self {
        match namespace {
            Namespace::User => Self::by_inode("user", INITIAL_USER_NAMESPACE),
            Namespace::Pid => Self::by_inode("pid", INITIAL_PID_NAMESPACE),
            Namespace::Network => Self::in_network(),
        }
    }

    fn by_inode(name: &str, initial: u64) -> Self {
        match inode(&format!("/proc/self/ns/{name}")) {
            None => Self::Hidden,
            Some(own) if own == initial => Self::Initial,
            Some(_) => Self::Child,
        }
    }

    fn in_network() -> Self {
        let Some(own) = inode("/proc/self/ns/net") else { return Self::Hidden };
        if own == INITIAL_NETWORK_NAMESPACE {
            return Self::Initial;
        }
        // In another pid namespace, process 1 is not the machine's first process.
        if Self::of_self(Namespace::Pid) != Self::Initial {
            return Self::Hidden;
        }
        match inode("/proc/1/ns/net") {
            None => Self::Hidden,
            Some(initial) if own == initial => Self::Initial,
            Some(_) => Self::Child,
        }
    }
}

/// Returns the namespace of this process in which exits do not arrive, if there is one. The kernel
/// may accept a registration there. This must be called before the process drops its privileges,
/// which reading the namespaces of other processes requires.
///
/// Exits are unicast in the initial network namespace only (`send_cpu_listeners` in
/// `kernel/taskstats.c`). A registration is refused outside the initial pid and user namespaces.
pub(super) fn wrong_namespace() -> Option<Namespace> {
    let needed = [Namespace::User, Namespace::Pid, Namespace::Network];
    needed.into_iter().find(|it| Placement::of_self(*it) == Placement::Child)
}

/// Returns the inode of a namespace, which identifies it.
fn inode(path: &str) -> Option<u64> {
    fs::metadata(path).ok().map(|metadata| metadata.ino())
}
