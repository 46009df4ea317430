//! Places to start the agent in that are not quite right for it, and one that is just enough.

/// A command that starts another one in a certain place.
pub type Wrapper = &'static [&'static str];

/// Without the right to ask for accounts.
pub const WITHOUT_NET_ADMIN: Wrapper =
    &["setpriv", "--bounding-set", "-net_admin", "--inh-caps", "-net_admin"];

/// As nobody, with that right and no other.
pub const AS_NOBODY: Wrapper = &[
    "setpriv",
    "--reuid=65534",
    "--regid=65534",
    "--clear-groups",
    "--bounding-set=-all,+net_admin",
    "--inh-caps=-all,+net_admin",
    "--ambient-caps=-all,+net_admin",
];

/// The user and the group of [`AS_NOBODY`].
pub const NOBODY: u32 = 65_534;

/// In a network namespace of its own.
pub const CHILD_NETWORK: Wrapper = &["unshare", "--net"];

/// In a network namespace of its own, as nobody, to whom `/proc/1` does not show its namespaces.
pub const CHILD_NETWORK_AS_NOBODY: Wrapper = &[
    "unshare",
    "--net",
    "setpriv",
    "--reuid=65534",
    "--regid=65534",
    "--clear-groups",
    "--bounding-set=-all,+net_admin",
    "--inh-caps=-all,+net_admin",
    "--ambient-caps=-all,+net_admin",
];

/// In a pid namespace of its own, which ends with the command that made it.
pub const CHILD_PID: Wrapper = &["unshare", "--pid", "--fork", "--kill-child"];

/// The same, with a `/proc` of its own.
pub const CHILD_PID_AND_PROC: Wrapper =
    &["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"];

/// As root of a user namespace of its own.
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

/// In a mount namespace whose `/proc` shows to a user its own processes only.
pub const WITH_HIDDEN_PROCESSES: Wrapper = &[
    "unshare",
    "--mount",
    "sh",
    "-c",
    "mount -t proc -o hidepid=2 none /proc && exec \"$@\"",
    "sh",
];
