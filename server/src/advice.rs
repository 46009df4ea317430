//! One table of advice: for each [`Cause`] of a failure, what to change on plain Linux, in a systemd
//! unit, and in a Kubernetes pod.
//!
//! The log, `Status`, `GetNode` and the doctor all use this table, so the texts of errors contain no
//! advice about the agent's surroundings: see [`Advised`].

use std::fmt;
use std::io::ErrorKind;
use std::sync::OnceLock;

use serde::Serialize;

use crate::taskstats::{KernelError, Namespace};

/// A cause of failures outside of the agent, which its operator can remove.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// `CAP_NET_ADMIN` is missing.
    Capability,
    /// The agent runs in a child user namespace.
    UserNamespace,
    /// The agent runs in a child pid namespace.
    PidNamespace,
    /// The agent runs in a child network namespace.
    NetworkNamespace,
    /// The kernel has no taskstats, or does not show it to this network namespace.
    NoTaskstats,
    /// The kernel can panic on taskstats.
    KnownBadKernel,
    /// procfs or sysfs are not mounted as usual.
    PseudoFilesystems,
    /// procfs hides the processes of other users.
    HiddenProcesses,
    /// No thread could be started, or none ran on a CPU.
    NoThread,
    /// File descriptors are used up.
    Descriptors,
    /// The kernel refused a call for a reason that only its error names.
    Unknown,
    /// A flag or a variable cannot be used.
    Settings,
    /// The directory of a socket is missing or not writable.
    SocketDirectory,
    /// The sandbox is turned off.
    NoSandbox,
    /// The agent's user cannot read a key or a certificate.
    UnreadableKeys,
    /// Every user of the node can read the key.
    ExposedKey,
    /// Certificates are given, and no listener uses them.
    TlsWithoutListener,
    /// A directory of certificates has other directories in it.
    WideDirectory,
    /// The agent is to run as root.
    RootWanted,
    /// The agent stays root by number.
    StillRoot,
    /// The kernel has no landlock, or an old one.
    Landlock,
    /// A certificate cannot be used, or not for long.
    Certificates,
    /// inotify instances or watches are used up.
    Inotify,
    /// Delay accounting is off.
    DelayAccounting,
    /// The kernel grants smaller receive buffers than configured.
    ReceiveBuffer,
}

/// The advice, in a sentence for each way to run the agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Advice {
    /// For an agent that a shell, a script or a container runtime started.
    pub linux: &'static str,
    /// For an agent that systemd started.
    pub systemd: &'static str,
    /// For an agent in a pod.
    pub kubernetes: &'static str,
}

/// The program that started the agent, which decides which sentence of an [`Advice`] applies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Environment {
    Linux,
    Systemd,
    Kubernetes,
}

/// An error whose cause may be in the table.
pub trait HasCause: fmt::Display {
    /// Returns what an operator can remove, if anything.
    fn cause(&self) -> Option<Cause>;

    /// Displays the error together with the advice for this environment.
    fn advised(&self) -> Advised<'_, Self> {
        Advised(self)
    }
}

/// Displays an error, and after a semicolon the advice for the environment of this process.
#[derive(Debug)]
pub struct Advised<'a, E: ?Sized>(&'a E);

impl<E: HasCause + ?Sized> fmt::Display for Advised<'_, E> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.cause() {
            Some(cause) => write!(formatter, "{}; {}", self.0, cause.advice_here()),
            None => self.0.fmt(formatter),
        }
    }
}

impl Environment {
    /// Returns the environment of this process. The variables are read once, because the agent
    /// removes those of its service manager later.
    fn current() -> Self {
        static CURRENT: OnceLock<Environment> = OnceLock::new();
        *CURRENT.get_or_init(|| Self::of(|name| std::env::var(name).ok(), std::process::id()))
    }

    /// systemd passes `SYSTEMD_EXEC_PID` since version 248. Children inherit the variable, so the
    /// number counts only if it is this process's own.
    fn of(variable: impl Fn(&str) -> Option<String>, pid: u32) -> Self {
        if variable("KUBERNETES_SERVICE_HOST").is_some() {
            return Self::Kubernetes;
        }
        let is_of_unit = match variable("SYSTEMD_EXEC_PID") {
            Some(started) => started == pid.to_string(),
            None => variable("NOTIFY_SOCKET").is_some(),
        };
        if is_of_unit { Self::Systemd } else { Self::Linux }
    }
}

impl HasCause for KernelError {
    fn cause(&self) -> Option<Cause> {
        Some(match self {
            Self::NotPermitted { .. } => Cause::Capability,
            Self::NoFamily => Cause::NoTaskstats,
            Self::WrongNamespace { namespace } => (*namespace).into(),
            Self::KnownBadKernel { .. } => Cause::KnownBadKernel,
            Self::NoExitsArrive { .. } => Cause::NetworkNamespace,
            Self::NotTested { .. } => Cause::NoThread,
            Self::HiddenThreads(_) => Cause::HiddenProcesses,
            Self::System { source, .. } => match source.raw_os_error() {
                Some(libc::EMFILE | libc::ENFILE) => Cause::Descriptors,
                _ if source.kind() == ErrorKind::NotFound => Cause::PseudoFilesystems,
                _ => return None,
            },
            Self::NoSuchTask(_) | Self::BadReply { .. } => return None,
        })
    }
}

impl From<Namespace> for Cause {
    /// Returns the cause that the agent is not in the initial namespace of this kind.
    fn from(namespace: Namespace) -> Self {
        match namespace {
            Namespace::User => Self::UserNamespace,
            Namespace::Pid => Self::PidNamespace,
            Namespace::Network => Self::NetworkNamespace,
        }
    }
}

impl Cause {
    /// Returns the sentence for the environment of this process.
    #[must_use]
    pub fn advice_here(self) -> &'static str {
        self.advice_in(Environment::current())
    }

    fn advice_in(self, environment: Environment) -> &'static str {
        let Advice { linux, systemd, kubernetes } = self.advice();
        match environment {
            Environment::Linux => linux,
            Environment::Systemd => systemd,
            Environment::Kubernetes => kubernetes,
        }
    }

    /// Returns the sentences for all environments.
    #[must_use]
    pub const fn advice(self) -> Advice {
        TABLE[self as usize].1
    }
}

/// The table, in the order of [`Cause`].
static TABLE: [(Cause, Advice); CAUSES] = [
    (
        Cause::Capability,
        Advice {
            linux: "run it as root, or give the binary the capability (setcap cap_net_admin=ep taskstatsd), and not in a user namespace (unshare -U, rootless containers)",
            systemd: "put AmbientCapabilities=CAP_NET_ADMIN and CapabilityBoundingSet=CAP_NET_ADMIN into the unit, and remove PrivateUsers= from it",
            kubernetes: "put securityContext.capabilities: {drop: [ALL], add: [NET_ADMIN]} into the container, and remove hostUsers: false from the pod",
        },
    ),
    (
        Cause::UserNamespace,
        Advice {
            linux: "run it outside of unshare -U and of rootless containers",
            systemd: "remove PrivateUsers= from the unit",
            kubernetes: "remove hostUsers: false from the pod",
        },
    ),
    (
        Cause::PidNamespace,
        Advice {
            linux: "run it outside of unshare -p and of containers, or the container with --pid=host",
            systemd: "remove PrivatePIDs= from the unit",
            kubernetes: "put hostPID: true into the pod",
        },
    ),
    (
        Cause::NetworkNamespace,
        Advice {
            linux: "run it outside of unshare -n and ip netns, or the container with --network=host",
            systemd: "remove PrivateNetwork=, NetworkNamespacePath= and JoinsNamespaceOf= from the unit",
            kubernetes: "put hostNetwork: true into the pod",
        },
    ),
    (
        Cause::NoTaskstats,
        Advice {
            linux: "boot a kernel with CONFIG_TASKSTATS=y (zgrep TASKSTATS /proc/config.gz, or /boot/config-*), and run the agent in the host's network namespace",
            systemd: "boot a kernel with CONFIG_TASKSTATS=y, and remove PrivateNetwork= from the unit",
            kubernetes: "choose a node image whose kernel has CONFIG_TASKSTATS=y, and put hostNetwork: true into the pod",
        },
    ),
    (
        Cause::KnownBadKernel,
        Advice {
            linux: "boot another kernel; --ignore-known-bad-kernel queries this one all the same, and risks the machine",
            systemd: "boot another kernel; TASKSTATSD_IGNORE_KNOWN_BAD_KERNEL=true in the unit's environment queries this one all the same, and risks the machine",
            kubernetes: "move the nodes to an image with another kernel; the argument --ignore-known-bad-kernel queries this one all the same, and risks the node",
        },
    ),
    (
        Cause::PseudoFilesystems,
        Advice {
            linux: "mount procfs on /proc and sysfs on /sys before the agent starts",
            systemd: "remove ProcSubset=pid and whatever else hides /proc or /sys from the unit",
            kubernetes: "leave /proc and /sys of the container as the runtime mounts them",
        },
    ),
    (
        Cause::HiddenProcesses,
        Advice {
            linux: "mount /proc without hidepid=, or with gid= of the agent's group",
            systemd: "remove ProtectProc= from the unit, or mount /proc with gid= of the agent's group",
            kubernetes: "leave /proc of the container as the runtime mounts it",
        },
    ),
    (
        Cause::NoThread,
        Advice {
            linux: "raise the limit of threads (ulimit -u, pids.max of the control group), and let the agent run on each CPU",
            systemd: "raise TasksMax= and LimitNPROC= in the unit, and remove CPUAffinity= from it",
            kubernetes: "raise podPidsLimit of the kubelet",
        },
    ),
    (
        Cause::Descriptors,
        Advice {
            linux: "raise the limit of open files (ulimit -n), or lower --max-connections",
            systemd: "raise LimitNOFILE= in the unit, or lower TASKSTATSD_MAX_CONNECTIONS in its environment",
            kubernetes: "raise the limit of open files of the container runtime, or lower --max-connections in the container's args",
        },
    ),
    (
        Cause::Unknown,
        Advice {
            linux: "run it again; if this stays, the message has the error of the kernel",
            systemd: "check what SystemCallFilter= and other restrictions of the unit forbid",
            kubernetes: "check what the pod's seccomp profile and other restrictions forbid",
        },
    ),
    (
        Cause::Settings,
        Advice {
            linux: "correct the flag, or its TASKSTATSD_ variable",
            systemd: "correct the flag in ExecStart= or the variable in the unit's environment file",
            kubernetes: "correct the container's args or env",
        },
    ),
    (
        Cause::SocketDirectory,
        Advice {
            linux: "start it as root, create the directory for its user (mkdir -p, chown), or choose another path with --listen",
            systemd: "put RuntimeDirectory=taskstatsd into the unit, or start it by a socket unit; a unit that has either needs no change",
            kubernetes: "mount a volume on the directory that the container's user may write, such as a hostPath",
        },
    ),
    (
        Cause::NoSandbox,
        Advice {
            linux: "remove --no-sandbox, which is for debugging",
            systemd: "remove TASKSTATSD_NO_SANDBOX from the unit's environment",
            kubernetes: "remove --no-sandbox from the container's args",
        },
    ),
    (
        Cause::UnreadableKeys,
        Advice {
            linux: "let the agent's user read the file, and read and enter its directories and those of the links to it: chgrp GROUP FILE; chmod g+r FILE; chmod a+rx DIRECTORY",
            systemd: "chgrp taskstatsd FILE; chmod 640 FILE; its directories and those of links to it need mode 755, or 750 with that group",
            kubernetes: "mount the secret with defaultMode: 0440, and give the pod fsGroup: the container's group",
        },
    ),
    (
        Cause::ExposedKey,
        Advice {
            linux: "let the agent's user alone read the key, or its group: chgrp GROUP FILE; chmod 640 FILE",
            systemd: "chgrp taskstatsd FILE; chmod 640 FILE",
            kubernetes: "mount the secret with defaultMode: 0440, and give the pod fsGroup: the container's group",
        },
    ),
    (
        Cause::TlsWithoutListener,
        Advice {
            linux: "add --listen tcp://HOST:PORT, or remove --tls-cert; an agent that inherits a TCP socket needs no change",
            systemd: "put ListenStream=PORT into the socket unit, as taskstatsd-tls.conf does; a unit that has it needs no change",
            kubernetes: "put --listen tcp://HOST:PORT into the container's args, as the component mutual-tls does",
        },
    ),
    (
        Cause::WideDirectory,
        Advice {
            linux: "keep the certificates in a directory of their own",
            systemd: "keep the certificates in a directory of their own",
            kubernetes: "mount the secret on a directory of its own",
        },
    ),
    (
        Cause::RootWanted,
        Advice {
            linux: "remove --user, or name a user without privileges",
            systemd: "remove TASKSTATSD_USER from the unit's environment, or name a user without privileges",
            kubernetes: "remove --user from the container's args, or name a user without privileges",
        },
    ),
    (
        Cause::StillRoot,
        Advice {
            linux: "give it CAP_SETUID and CAP_SETGID to change its user with, or start it as another user with CAP_NET_ADMIN",
            systemd: "put User= and AmbientCapabilities=CAP_NET_ADMIN into the unit",
            kubernetes: "use the component non-root of the manifests; without it the agent is root by number, with one capability",
        },
    ),
    (
        Cause::Landlock,
        Advice {
            linux: "boot a kernel with CONFIG_SECURITY_LANDLOCK=y, and add landlock to its parameter lsm=; the agent runs without it",
            systemd: "boot a kernel with landlock; the unit's ProtectSystem= and IPAddressDeny= restrict files and addresses meanwhile",
            kubernetes: "choose a node image whose kernel has landlock; readOnlyRootFilesystem: true restricts files meanwhile",
        },
    ),
    (
        Cause::Certificates,
        Advice {
            linux: "put a certificate that is valid now and its key, in PEM, where --tls-cert and --tls-key say; a running agent reads them by itself",
            systemd: "renew the files that TASKSTATSD_TLS_CERT, TASKSTATSD_TLS_KEY and TASKSTATSD_CLIENT_CA name, readable by the unit's user",
            kubernetes: "renew the secret that is mounted where the container's arguments say, such as by cert-manager",
        },
    ),
    (
        Cause::Inotify,
        Advice {
            linux: "raise the sysctls fs.inotify.max_user_instances and fs.inotify.max_user_watches, and the limit of open files, whichever is used up",
            systemd: "raise fs.inotify.max_user_instances and fs.inotify.max_user_watches in /etc/sysctl.d, or give the unit a user of its own with User=",
            kubernetes: "raise the sysctls fs.inotify.max_user_instances and fs.inotify.max_user_watches on the node",
        },
    ),
    (
        Cause::DelayAccounting,
        Advice {
            linux: "sysctl kernel.task_delayacct=1, or --enable-delay-accounting; it counts for tasks that begin later",
            systemd: "put kernel.task_delayacct=1 into /etc/sysctl.d, which is read before most tasks begin",
            kubernetes: "start the nodes with the kernel parameter delayacct, or set the sysctl kernel.task_delayacct=1 on them",
        },
    ),
    (
        Cause::ReceiveBuffer,
        Advice {
            linux: "give it CAP_NET_ADMIN, which lifts the limit, or raise net.core.rmem_max",
            systemd: "put AmbientCapabilities=CAP_NET_ADMIN into the unit, or raise net.core.rmem_max in /etc/sysctl.d",
            kubernetes: "add the capability NET_ADMIN to the container, or raise net.core.rmem_max on the node",
        },
    ),
];

const CAUSES: usize = Cause::ReceiveBuffer as usize + 1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_cause_has_its_row() {
        for (number, (cause, _)) in TABLE.iter().enumerate() {
            assert_eq!(*cause as usize, number, "{cause:?}");
        }
    }

    /// A sentence follows a semicolon, so it has the form of an error's text.
    #[test]
    fn each_sentence_can_follow_an_error() {
        for (cause, Advice { linux, systemd, kubernetes }) in TABLE {
            for sentence in [linux, systemd, kubernetes] {
                let begins_low = sentence.starts_with(|first: char| first.is_ascii_lowercase());
                assert!(begins_low && !sentence.ends_with('.'), "{cause:?}: {sentence}");
            }
        }
    }

    #[test]
    fn the_environment_is_known_by_its_variables() {
        let of = |variables: &[(&str, &str)]| {
            let value = |name: &str| variables.iter().find(|(known, _)| *known == name);
            Environment::of(|name| value(name).map(|(_, value)| (*value).to_owned()), 7)
        };
        assert_eq!(of(&[]), Environment::Linux);
        assert_eq!(of(&[("SYSTEMD_EXEC_PID", "7")]), Environment::Systemd);
        // A shell in a unit passes its own variables on.
        let inherited = [("SYSTEMD_EXEC_PID", "6"), ("NOTIFY_SOCKET", "/run/x")];
        assert_eq!(of(&inherited), Environment::Linux);
        assert_eq!(of(&[("NOTIFY_SOCKET", "/run/x")]), Environment::Systemd);
        let pod = [("KUBERNETES_SERVICE_HOST", "10.0.0.1"), ("NOTIFY_SOCKET", "/run/x")];
        assert_eq!(of(&pod), Environment::Kubernetes);
    }

    #[test]
    fn an_error_is_displayed_with_the_advice_for_one_environment() {
        let error = KernelError::NotPermitted { operation: "sendto" };
        let Advice { linux, systemd, kubernetes } = Cause::Capability.advice();
        let text = error.advised().to_string();
        let found = [linux, systemd, kubernetes].iter().filter(|&&it| text.ends_with(it)).count();
        assert_eq!(found, 1, "{text}");
        assert!(!error.to_string().contains("; "), "{error}");
        let without = KernelError::BadReply { operation: "recv" };
        assert_eq!(without.advised().to_string(), without.to_string());
    }
}
