//! What stands on the command line and in the environment.

use std::path::PathBuf;
use std::time::Duration;

use bytesize::ByteSize;
use clap::Parser;

use super::switch::Switch;
use super::{
    AttributionChoice, Command, Compression, KernelChoice, LimitArgs, PolicyArgs, SandboxArgs,
    TlsArgs,
};
use crate::listen::ListenAddress;
use crate::telemetry::LogFormat;

/// Serves the kernel's per-task accounts (taskstats) of this node over gRPC.
///
/// It needs CAP_NET_ADMIN and the host's pid, network and user namespaces, and nothing else.
#[derive(Clone, Debug, Parser)]
#[command(name = "taskstatsd", version, max_term_width = 100)]
#[expect(clippy::doc_markdown, reason = "these comments are the help text, which is no Markdown")]
pub struct Args {
    /// What to do instead of serving.
    #[command(subcommand)]
    pub command: Option<Command>,

    /// Where to listen: unix:///path or tcp://host:port (8275 without one); may be given more than once.
    #[arg(
        long,
        value_name = "URL",
        env = "TASKSTATSD_LISTEN",
        value_delimiter = ',',
        default_value = "unix:///run/taskstatsd/taskstatsd.sock"
    )]
    pub listen: Vec<ListenAddress>,

    /// Allow tcp:// listeners without TLS, which have neither encryption nor authentication.
    #[arg(long, env = "TASKSTATSD_INSECURE", value_parser = Switch)]
    pub insecure: bool,

    #[command(flatten)]
    #[expect(missing_docs, reason = "a comment here would stand in the help text")]
    pub tls: TlsArgs,

    /// Compress responses for clients that accept it, which saves bandwidth on slow networks and costs
    /// CPU time. Compressed requests are accepted in any case.
    #[arg(
        long,
        value_name = "ENCODING",
        value_enum,
        env = "TASKSTATSD_COMPRESSION",
        default_value_t
    )]
    pub compression: Compression,

    /// Receive buffer of each watched CPU; what it cannot hold is lost, and counted. 16MiB and 16Mi are
    /// 16 × 1024², 16MB and 16M are 16 × 1000², in each flag with a SIZE.
    #[arg(
        long,
        global = true,
        value_name = "SIZE",
        env = "TASKSTATSD_RECEIVE_BUFFER",
        default_value = "16MiB"
    )]
    pub receive_buffer: ByteSize,

    /// Memory for past exits; what it cannot hold is lost to slow watchers, and counted.
    #[arg(long, value_name = "SIZE", env = "TASKSTATSD_HISTORY_BYTES", default_value = "32MiB")]
    pub history_bytes: ByteSize,

    /// How long CPUs are listened to after their last watcher left.
    #[arg(
        long,
        value_name = "TIME",
        env = "TASKSTATSD_GRACE_PERIOD",
        default_value = "60s",
        value_parser = humantime::parse_duration
    )]
    pub grace_period: Duration,

    /// Sleep between drains of the receive buffers while exits are many; 0s to never sleep.
    #[arg(
        long,
        value_name = "TIME",
        env = "TASKSTATSD_PACE",
        default_value = "2ms",
        value_parser = humantime::parse_duration
    )]
    pub pace: Duration,

    /// How long calls and streams may take to end after SIGTERM.
    #[arg(
        long,
        value_name = "TIME",
        env = "TASKSTATSD_DRAIN_TIMEOUT",
        default_value = "10s",
        value_parser = humantime::parse_duration
    )]
    pub drain_timeout: Duration,

    /// Folder through which a restart under a service manager loses no exits: at the end, the history
    /// goes there and the sockets to the manager's descriptor store.
    #[arg(long, value_name = "FOLDER", env = "TASKSTATSD_STATE_DIR")]
    pub state_dir: Option<PathBuf>,

    /// CPUs to listen to even while nobody watches, in the kernel's list syntax, such as all.
    #[arg(long, value_name = "CPUS", env = "TASKSTATSD_ALWAYS_WATCH")]
    pub always_watch: Option<String>,

    /// How to attribute exits to cgroups, and so to pods, containers and units.
    #[arg(
        long,
        value_name = "METHOD",
        value_enum,
        env = "TASKSTATSD_ATTRIBUTION",
        default_value_t
    )]
    pub attribution: AttributionChoice,

    /// Turn kernel.task_delayacct on at the start, so that the kernel accounts delays of the tasks that
    /// begin from then on. It stays on after the agent has ended.
    #[arg(long, env = "TASKSTATSD_ENABLE_DELAY_ACCOUNTING", value_parser = Switch)]
    pub enable_delay_accounting: bool,

    /// Ask the kernel even if it is one that is known to panic on it.
    #[arg(long, global = true, env = "TASKSTATSD_IGNORE_KNOWN_BAD_KERNEL", value_parser = Switch)]
    pub ignore_known_bad_kernel: bool,

    /// End with code 1 where exits cannot be watched, instead of serving what can be and waiting for
    /// the cause to go away.
    #[arg(long, env = "TASKSTATSD_FAIL_FAST", value_parser = Switch)]
    pub fail_fast: bool,

    /// Name of this node in answers; the host name by default.
    #[arg(long, value_name = "NAME", env = "TASKSTATSD_NODE_NAME")]
    pub node_name: Option<String>,

    #[command(flatten)]
    #[expect(missing_docs, reason = "a comment here would stand in the help text")]
    pub sandbox: SandboxArgs,

    /// The kernel to serve: linux, or sim[:KEY=VALUE,...], a simulated one with invented tasks, which
    /// needs no rights.
    ///
    /// Its keys: cpus (1 to 1024), rate (exits a second), seed, version (of struct taskstats, 8 to
    /// 17), tasks (alive at once), threads (a process, on the average), delayacct (on or off); and
    /// faults: errors, truncate, overflow, migrate (shares from 0 to 1), vanish (PERIOD/LENGTH, such
    /// as 20s/5s).
    #[arg(long, value_name = "KERNEL", env = "TASKSTATSD_KERNEL", default_value = "linux")]
    pub kernel: KernelChoice,

    /// What to log to stderr: error, warn, info, debug, trace, or a filter by module.
    #[arg(long, value_name = "FILTER", env = "TASKSTATSD_LOG", default_value = "info")]
    pub log: String,

    /// Form of the log's lines.
    #[arg(long, value_name = "FORMAT", value_enum, env = "TASKSTATSD_LOG_FORMAT", default_value_t)]
    pub log_format: LogFormat,

    #[command(flatten, next_help_heading = "Who may do what")]
    #[expect(missing_docs, reason = "a comment here would become the help of the command")]
    pub policy: PolicyArgs,

    #[command(flatten, next_help_heading = "Limits")]
    #[expect(missing_docs, reason = "a comment here would become the help of the command")]
    pub limits: LimitArgs,
}
