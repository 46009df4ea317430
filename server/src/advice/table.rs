//! The sentences of each cause.

use super::{Advice, CAUSES, Cause};

/// The table, in the order of [`Cause`].
pub(super) static TABLE: [(Cause, Advice); CAUSES] = [
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
            kubernetes: "use the component non-root of the manifests; without it the agent is root by number, without capabilities",
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
    (
        Cause::CgroupMount,
        Advice {
            linux: "mount cgroup2 on /sys/fs/cgroup",
            systemd: "remove whatever hides /sys/fs/cgroup from the unit",
            kubernetes: "mount /sys/fs/cgroup of the node read-only into the container",
        },
    ),
    (
        Cause::FilterCapability,
        Advice {
            linux: "start the agent with CAP_BPF and CAP_PERFMON, which it drops before it serves",
            systemd: "put AmbientCapabilities=CAP_NET_ADMIN CAP_BPF CAP_PERFMON and the same CapabilityBoundingSet= into the unit, and allow bpf in SystemCallFilter=; the agent drops them before it serves",
            kubernetes: "put securityContext.capabilities: {drop: [ALL], add: [NET_ADMIN, BPF, PERFMON]} into the container; the agent drops the last two before it serves",
        },
    ),
    (
        Cause::FilterKernel,
        Advice {
            linux: "use Linux 6.4 or newer, or one from 5.10 with CONFIG_DEBUG_INFO_BTF=y",
            systemd: "use Linux 6.4 or newer, or one from 5.10 with CONFIG_DEBUG_INFO_BTF=y",
            kubernetes: "choose a node image with Linux 6.4 or newer, or from 5.10 with CONFIG_DEBUG_INFO_BTF=y",
        },
    ),
];
