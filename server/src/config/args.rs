//! The flags of the agent and their variables.

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

/// The text after the flags in the help.
const AFTER_HELP: &str = "\
A variable sets its flag, and the command line has precedence. Variables of flags without a value
accept 1/0, yes/no, on/off and true/false. An empty variable counts as unset. A SIZE of 16MiB or 16Mi
is 16 * 1024^2 bytes, and 16MB or 16M is 16 * 1000^2; a TIME is a number with a unit, such as 250ms,
10s, 5m or 1h.

Signals: SIGTERM and SIGINT drain and exit, and a second one aborts. SIGHUP reads the certificates
again. SIGUSR1 and SIGUSR2 are ignored.

Exit codes: 0 after a complete drain, 1 after an error or an aborted drain, 2 if the command line
or a setting cannot be used.";

/// Serves the Linux kernel's per-task statistics (taskstats) of this node over gRPC.
///
/// The agent needs CAP_NET_ADMIN in the host's pid, network and user namespaces.
#[derive(Clone, Debug, Parser)]
#[command(name = "taskstatsd", version, max_term_width = 100, after_help = AFTER_HELP)]
#[expect(clippy::doc_markdown, reason = "these comments are the help text, which is not Markdown")]
pub struct Args {
    /// The command to run instead of serving.
    #[command(subcommand)]
    pub(crate) command: Option<Command>,

    /// The addresses to listen on.
    #[arg(
        long,
        // Not the documentation comment, in which rustdoc reads brackets as a link.
        help = "Address to listen on: unix:///PATH or tcp://HOST[:PORT] (port 8275 by default); can be repeated",
        value_name = "URL",
        env = "TASKSTATSD_LISTEN",
        value_delimiter = ',',
        default_value = "unix:///run/taskstatsd/taskstatsd.sock",
        help_heading = "Listening"
    )]
    pub(crate) listen: Vec<ListenAddress>,

    /// Allow tcp:// listeners without TLS, that is without encryption and authentication
    #[arg(
        long,
        env = "TASKSTATSD_INSECURE",
        value_parser = Switch,
        help_heading = "Listening"
    )]
    pub(crate) insecure: bool,

    /// Compress responses to clients that accept it, which saves bandwidth on slow networks and costs CPU
    /// time. Compressed requests are always accepted
    #[arg(
        long,
        value_name = "ENCODING",
        value_enum,
        env = "TASKSTATSD_COMPRESSION",
        default_value_t,
        help_heading = "Listening"
    )]
    pub(crate) compression: Compression,

    /// Time for calls and streams to finish after SIGTERM; the rest is aborted
    #[arg(
        long,
        value_name = "TIME",
        env = "TASKSTATSD_DRAIN_TIMEOUT",
        default_value = "10s",
        value_parser = humantime::parse_duration,
        help_heading = "Listening"
    )]
    pub(crate) drain_timeout: Duration,

    /// Name of this node in responses [default: the host name]
    #[arg(long, value_name = "NAME", env = "TASKSTATSD_NODE_NAME", help_heading = "Listening")]
    pub(crate) node_name: Option<String>,

    #[command(flatten, next_help_heading = "TLS")]
    pub(crate) tls: TlsArgs,

    #[command(flatten, next_help_heading = "Access")]
    pub(crate) policy: PolicyArgs,

    /// Receive buffer of each watched CPU; exits that do not fit are lost, and counted
    #[arg(
        long,
        global = true,
        value_name = "SIZE",
        env = "TASKSTATSD_RECEIVE_BUFFER",
        default_value = "16MiB",
        help_heading = "Exits"
    )]
    pub(crate) receive_buffer: ByteSize,

    /// Memory for past exits; slow watchers lose those that do not fit, and receive their count
    #[arg(
        long,
        value_name = "SIZE",
        env = "TASKSTATSD_HISTORY_BYTES",
        default_value = "24MiB",
        help_heading = "Exits"
    )]
    pub(crate) history_bytes: ByteSize,

    /// Time for which a CPU stays registered after its last watcher has left
    #[arg(
        long,
        value_name = "TIME",
        env = "TASKSTATSD_GRACE_PERIOD",
        default_value = "60s",
        value_parser = humantime::parse_duration,
        help_heading = "Exits"
    )]
    pub(crate) grace_period: Duration,

    /// Time between drains of the receive buffers at high exit rates; 0s drains without a pause
    #[arg(
        long,
        value_name = "TIME",
        env = "TASKSTATSD_PACE",
        default_value = "2ms",
        value_parser = humantime::parse_duration,
        help_heading = "Exits"
    )]
    pub(crate) pace: Duration,

    /// CPUs that stay registered without watchers, as a CPU list of the kernel (0-3,8) or all
    #[arg(long, value_name = "CPUS", env = "TASKSTATSD_ALWAYS_WATCH", help_heading = "Exits")]
    pub(crate) always_watch: Option<String>,

    /// Directory in which the history survives a restart under a service manager, which keeps the
    /// sockets meanwhile, so that no exits are lost
    #[arg(long, value_name = "DIR", env = "TASKSTATSD_STATE_DIR", help_heading = "Exits")]
    pub(crate) state_dir: Option<PathBuf>,

    /// Method by which exits are attributed to cgroups, that is to pods, containers and units
    #[arg(
        long,
        value_name = "METHOD",
        value_enum,
        env = "TASKSTATSD_ATTRIBUTION",
        default_value_t,
        help_heading = "Exits"
    )]
    pub(crate) attribution: AttributionChoice,

    /// Exit with code 1 if exits cannot be watched, instead of serving live queries and retrying
    #[arg(
        long,
        env = "TASKSTATSD_FAIL_FAST",
        value_parser = Switch,
        help_heading = "Exits"
    )]
    pub(crate) fail_fast: bool,

    /// Set the sysctl kernel.task_delayacct=1 at the start, and leave it set. The kernel then measures
    /// delays of the tasks that start afterwards
    #[arg(
        long,
        env = "TASKSTATSD_ENABLE_DELAY_ACCOUNTING",
        value_parser = Switch,
        help_heading = "Kernel"
    )]
    pub(crate) enable_delay_accounting: bool,

    /// Query a kernel even if this release is known to panic on a query
    #[arg(
        long,
        global = true,
        env = "TASKSTATSD_IGNORE_KNOWN_BAD_KERNEL",
        value_parser = Switch,
        help_heading = "Kernel"
    )]
    pub(crate) ignore_known_bad_kernel: bool,

    /// Kernel to serve: linux, or sim[:KEY=VALUE,...], a simulated kernel that needs no privileges
    ///
    /// Keys of the simulated kernel: cpus (1 to 1024), rate (exits per second), seed, version (of struct
    /// taskstats, 8 to 17), tasks (alive at a time), threads (per process, on average), delayacct (on or
    /// off); and faults: errors, truncate, overflow, migrate (shares from 0 to 1), vanish (PERIOD/LENGTH,
    /// such as 20s/5s).
    #[arg(
        long,
        value_name = "KERNEL",
        env = "TASKSTATSD_KERNEL",
        default_value = "linux",
        help_heading = "Kernel"
    )]
    pub(crate) kernel: KernelChoice,

    #[command(flatten, next_help_heading = "Limits")]
    pub(crate) limits: LimitArgs,

    #[command(flatten, next_help_heading = "Privileges")]
    pub(crate) sandbox: SandboxArgs,

    /// Log level for standard error: error, warn, info, debug, trace, or a filter such as
    /// taskstatsd::exits=debug,info
    #[arg(
        long,
        value_name = "FILTER",
        env = "TASKSTATSD_LOG",
        default_value = "info",
        help_heading = "Logging"
    )]
    pub(crate) log: String,

    /// Format of log lines
    #[arg(
        long,
        value_name = "FORMAT",
        value_enum,
        env = "TASKSTATSD_LOG_FORMAT",
        default_value_t,
        help_heading = "Logging"
    )]
    pub(crate) log_format: LogFormat,
}
