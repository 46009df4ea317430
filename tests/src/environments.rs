//! Environments in which the agent lacks something that it needs, and one that is just sufficient.

/// A command that starts another one in a changed environment.
pub type Wrapper = &'static [&'static str];

/// Without the capability that taskstats needs.
pub const WITHOUT_NET_ADMIN: Wrapper =
    &["setpriv", "--bounding-set", "-net_admin", "--inh-caps", "-net_admin"];

/// As user 61000, with that capability alone.
pub const AS_USER: Wrapper = &[
    "setpriv",
    "--reuid=61000",
    "--regid=61000",
    "--clear-groups",
    "--bounding-set=-all,+net_admin",
    "--inh-caps=-all,+net_admin",
    "--ambient-caps=-all,+net_admin",
];

/// The user and the group of [`AS_USER`].
pub const USER: u32 = 61_000;

/// In a new network namespace.
pub const CHILD_NETWORK: Wrapper = &["unshare", "--net"];

/// In a new network namespace, as a user to whom `/proc/1` does not show its namespaces.
pub const CHILD_NETWORK_AS_USER: Wrapper = &[
    "unshare",
    "--net",
    "setpriv",
    "--reuid=61000",
    "--regid=61000",
    "--clear-groups",
    "--bounding-set=-all,+net_admin",
    "--inh-caps=-all,+net_admin",
    "--ambient-caps=-all,+net_admin",
];

/// In a new pid namespace, which ends with the command that created it.
pub const CHILD_PID: Wrapper = &["unshare", "--pid", "--fork", "--kill-child"];

/// In a new pid namespace with a matching `/proc`.
pub const CHILD_PID_AND_PROC: Wrapper =
    &["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"];

/// As root of a new user namespace.
pub const CHILD_USER: Wrapper = &["unshare", "--user", "--map-root-user"];

/// As root of a child user namespace, in which no inotify instance can be made.
pub const WITHOUT_INOTIFY: Wrapper = &[
    "unshare",
    "--user",
    "--map-root-user",
    "sh",
    "-c",
    "echo 0 > /proc/sys/user/max_inotify_instances && exec \"$@\"",
    "sh",
];

/// In a mount namespace with nothing on `/proc` and `/sys`.
pub const WITHOUT_PROC: Wrapper = &[
    "unshare",
    "--mount",
    "sh",
    "-c",
    "mount -t tmpfs none /proc && mount -t tmpfs none /sys && exec \"$@\"",
    "sh",
];

/// In a mount namespace whose `/proc` shows to each user only its own processes.
pub const WITH_HIDDEN_PROCESSES: Wrapper = &[
    "unshare",
    "--mount",
    "sh",
    "-c",
    "mount -t proc -o hidepid=2 none /proc && exec \"$@\"",
    "sh",
];
