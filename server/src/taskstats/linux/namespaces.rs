//! Which namespaces the agent is in.

use std::fs;
use std::os::unix::fs::MetadataExt;

use crate::taskstats::Namespace;

/// `PROC_PID_INIT_INO` of the kernel's `include/linux/proc_ns.h`.
const INITIAL_PID_NAMESPACE: u64 = 0xEFFF_FFFC;
/// `PROC_USER_INIT_INO`.
const INITIAL_USER_NAMESPACE: u64 = 0xEFFF_FFFD;
/// `NET_NS_INIT_INO`, since 6.18; before, the number differs from boot to boot.
const INITIAL_NETWORK_NAMESPACE: u64 = 0xEFFF_FFF9;

/// Whether a process is in the machine's initial namespace of a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placement {
    /// It is.
    Initial,
    /// It is in another one.
    Child,
    /// procfs does not show it.
    Hidden,
}

impl Placement {
    /// Where this process is.
    #[must_use]
    pub fn of_self(namespace: Namespace) -> Self {
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
        // Elsewhere, process 1 is not the machine's.
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

/// The namespace in which exits do not arrive although the kernel may accept the registration, if
/// this process is in one. To be asked while procfs still shows it: the namespaces of others are
/// closed to a process that gave up its rights.
///
/// Exits are unicast in the initial network namespace only (`kernel/taskstats.c`,
/// `send_cpu_listeners`); a registration is refused outside the initial pid and user namespaces.
pub(super) fn misplaced() -> Option<Namespace> {
    let needed = [Namespace::User, Namespace::Pid, Namespace::Network];
    needed.into_iter().find(|it| Placement::of_self(*it) == Placement::Child)
}

/// The inode of a namespace, which is its identity.
fn inode(path: &str) -> Option<u64> {
    fs::metadata(path).ok().map(|metadata| metadata.ino())
}
