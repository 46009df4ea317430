//! What to do about what is wrong, wherever the agent runs.

use serde::Serialize;

use crate::taskstats::{KernelError, Namespace};

/// What to do, in a sentence for each way to run the agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Fix {
    /// Started by hand or by a script.
    pub linux: &'static str,
    /// Started by a unit of systemd.
    pub systemd: &'static str,
    /// Started as a pod of Kubernetes.
    pub kubernetes: &'static str,
}

impl Fix {
    pub(super) const CAPABILITY: Self = Self {
        linux: "run it as root, or give the binary the capability: setcap cap_net_admin=ep taskstatsd",
        systemd: "put AmbientCapabilities=CAP_NET_ADMIN and CapabilityBoundingSet=CAP_NET_ADMIN into the unit",
        kubernetes: "put securityContext.capabilities: {drop: [ALL], add: [NET_ADMIN]} into the container",
    };
    pub(super) const USER_NAMESPACE: Self = Self {
        linux: "run it outside of unshare -U and of rootless containers",
        systemd: "remove PrivateUsers= from the unit",
        kubernetes: "remove hostUsers: false from the pod",
    };
    pub(super) const PID_NAMESPACE: Self = Self {
        linux: "run it outside of unshare -p and of containers, or the container with --pid=host",
        systemd: "remove PrivatePIDs= from the unit",
        kubernetes: "put hostPID: true into the pod",
    };
    pub(super) const NETWORK_NAMESPACE: Self = Self {
        linux: "run it outside of unshare -n and ip netns, or the container with --network=host",
        systemd: "remove PrivateNetwork=, NetworkNamespacePath= and JoinsNamespaceOf= from the unit",
        kubernetes: "put hostNetwork: true into the pod",
    };
    pub(super) const TASKSTATS: Self = Self {
        linux: "boot a kernel with CONFIG_TASKSTATS=y (zgrep TASKSTATS /proc/config.gz, or /boot/config-*), and run the agent in the host's network namespace",
        systemd: "boot a kernel with CONFIG_TASKSTATS=y, and remove PrivateNetwork= from the unit",
        kubernetes: "choose a node image whose kernel has CONFIG_TASKSTATS=y, and put hostNetwork: true into the pod",
    };
    pub(super) const KNOWN_BAD: Self = Self {
        linux: "boot another kernel; --ignore-known-bad-kernel asks this one all the same, and risks the machine",
        systemd: "boot another kernel; TASKSTATSD_IGNORE_KNOWN_BAD_KERNEL=true in the unit's environment takes the risk",
        kubernetes: "move the nodes to an image with another kernel; the argument --ignore-known-bad-kernel takes the risk",
    };
    pub(super) const FILES: Self = Self {
        linux: "mount procfs on /proc and sysfs on /sys before the agent starts",
        systemd: "remove ProcSubset=pid and ProtectProc= from the unit, and what hides /proc or /sys from it",
        kubernetes: "leave /proc and /sys of the container as the runtime mounts them",
    };
    pub(super) const DESCRIPTORS: Self = Self {
        linux: "raise the limit of open files (ulimit -n), or lower --max-connections",
        systemd: "raise LimitNOFILE= in the unit, or lower TASKSTATSD_MAX_CONNECTIONS in its environment",
        kubernetes: "raise the limit of open files of the container runtime, or lower --max-connections in the container's args",
    };
    pub(super) const UNKNOWN: Self = Self {
        linux: "run it again; if this stays, the message says what the kernel refused",
        systemd: "look at what SystemCallFilter= and other restrictions of the unit take away",
        kubernetes: "look at what the pod's seccomp profile and other restrictions take away",
    };
    pub(super) const SETTINGS: Self = Self {
        linux: "correct the flag, or the variable TASKSTATSD_... that stands for it",
        systemd: "correct the flag in ExecStart= or the variable in the unit's environment file",
        kubernetes: "correct the container's args or env",
    };
    pub(super) const SOCKET_DIRECTORY: Self = Self {
        linux: "start it as root, make the folder for its user (mkdir -p, chown), or choose another path with --listen",
        systemd: "put RuntimeDirectory=taskstatsd into the unit, or start it by a socket unit; where that is done, all is well",
        kubernetes: "mount a volume on the folder that the container's user may write, such as a hostPath",
    };
    pub(super) const SANDBOX: Self = Self {
        linux: "leave --no-sandbox out, but for debugging",
        systemd: "remove TASKSTATSD_NO_SANDBOX from the unit's environment",
        kubernetes: "remove --no-sandbox from the container's args",
    };
    pub(super) const UNREADABLE_KEYS: Self = Self {
        linux: "give the file to that user's group, and let it read and enter the folders of the file and of the links to it: chgrp GROUP FILE; chmod g+r FILE; chmod a+rx FOLDER",
        systemd: "chgrp taskstatsd FILE; chmod 640 FILE; and its folders and those of links to it 755, or 750 with that group",
        kubernetes: "mount the secret with defaultMode: 0440, and give the pod fsGroup: the container's group",
    };
    pub(super) const TLS_LISTENER: Self = Self {
        linux: "add --listen tcp://HOST:PORT, or leave --tls-cert out; where a service manager passes such a socket, all is well",
        systemd: "put ListenStream=PORT into the socket unit, as taskstatsd-tls.conf says; where that is done, all is well",
        kubernetes: "put --listen tcp://HOST:PORT into the container's args, as the component mutual-tls does",
    };
    pub(super) const ROOT: Self = Self {
        linux: "give it CAP_SETUID and CAP_SETGID to leave root with, or start it as another user with CAP_NET_ADMIN",
        systemd: "put User= and AmbientCapabilities=CAP_NET_ADMIN into the unit",
        kubernetes: "use the component non-root of the manifests; without it the agent is root by number, with one capability",
    };
    pub(super) const LANDLOCK: Self = Self {
        linux: "boot a kernel with CONFIG_SECURITY_LANDLOCK=y, and add landlock to its parameter lsm=; the agent runs without it",
        systemd: "boot a kernel with landlock; the unit's ProtectSystem= and IPAddressDeny= restrict files and addresses meanwhile",
        kubernetes: "choose a node image whose kernel has landlock; readOnlyRootFilesystem: true restricts files meanwhile",
    };
    pub(super) const CERTIFICATES: Self = Self {
        linux: "put a certificate that is valid now and its key, in PEM, where --tls-cert and --tls-key say; a running agent takes them up by itself",
        systemd: "renew the files that TASKSTATSD_TLS_CERT, TASKSTATSD_TLS_KEY and TASKSTATSD_CLIENT_CA name, readable by the unit's user",
        kubernetes: "renew the secret that is mounted where the container's arguments say, such as by cert-manager",
    };
    pub(super) const DELAY_ACCOUNTING: Self = Self {
        linux: "sysctl kernel.task_delayacct=1, or --enable-delay-accounting; it counts for tasks that begin later",
        systemd: "put kernel.task_delayacct=1 into /etc/sysctl.d, which is read before most tasks begin",
        kubernetes: "start the nodes with the kernel parameter delayacct, or set the sysctl kernel.task_delayacct=1 on them",
    };
    pub(super) const RECEIVE_BUFFER: Self = Self {
        linux: "give it CAP_NET_ADMIN, which lifts the limit, or raise net.core.rmem_max",
        systemd: "put AmbientCapabilities=CAP_NET_ADMIN into the unit, or raise net.core.rmem_max in /etc/sysctl.d",
        kubernetes: "add the capability NET_ADMIN to the container, or raise net.core.rmem_max on the node",
    };

    /// What to do about a refusal of the kernel.
    #[must_use]
    pub fn of(error: &KernelError) -> Self {
        match error {
            KernelError::NotPermitted { .. } => Self::CAPABILITY,
            KernelError::NoFamily => Self::TASKSTATS,
            KernelError::WrongNamespace { namespace } => Self::to_leave(*namespace),
            KernelError::KnownBadKernel { .. } => Self::KNOWN_BAD,
            KernelError::NoExitsArrive { .. } => Self::NETWORK_NAMESPACE,
            KernelError::System { source, .. } => match source.raw_os_error() {
                Some(libc::EMFILE | libc::ENFILE) => Self::DESCRIPTORS,
                _ if source.kind() == std::io::ErrorKind::NotFound => Self::FILES,
                _ => Self::UNKNOWN,
            },
            KernelError::HiddenThreads(_) => Self::FILES,
            KernelError::NoSuchTask(_)
            | KernelError::NotTested { .. }
            | KernelError::BadReply { .. } => Self::UNKNOWN,
        }
    }

    /// What to do to be in the initial namespace.
    pub(super) fn to_leave(namespace: Namespace) -> Self {
        match namespace {
            Namespace::User => Self::USER_NAMESPACE,
            Namespace::Pid => Self::PID_NAMESPACE,
            Namespace::Network => Self::NETWORK_NAMESPACE,
        }
    }
}
