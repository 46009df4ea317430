//! The errors of settings.

use std::io;
use std::path::PathBuf;

use crate::listen::{AddressError, ListenAddress};

/// A setting that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A TCP listener has no TLS, and `--insecure` is not set.
    #[error(
        "{0} has neither encryption nor authentication, and the statistics of all processes reveal \
         secrets to any client (CVE-2011-2494); use a unix:// listener, add --tls-cert, --tls-key and \
         --client-ca, or add --insecure if the network is trusted"
    )]
    Plaintext(ListenAddress),
    /// A flag has no effect without another.
    #[error("{flag} needs {missing} as well")]
    Incomplete {
        /// The flag.
        flag: &'static str,
        /// The other flag.
        missing: &'static str,
    },
    /// Both TLS and plaintext are configured.
    #[error("--insecure and --tls-cert contradict each other; remove one of them")]
    InsecureTls,
    /// No listener uses TLS.
    #[error(
        "--tls-cert has no effect without a tcp:// listener; add --listen tcp://HOST:PORT, or remove it"
    )]
    UnusedTls,
    /// TLS without client certificates would allow any client everything.
    #[error(
        "TLS without --client-ca gives the statistics of all processes to any client that reaches the \
         port; add --client-ca, or grant roles: --allow anonymous=query,watch,node allows any client"
    )]
    OpenTls,
    /// A number, size or time is out of its range.
    #[error("{flag} {value} is out of range; use {range}")]
    OutOfRange {
        /// The flag.
        flag: &'static str,
        /// The given value.
        value: String,
        /// The possible values.
        range: String,
    },
    /// The role details is granted where nothing is redacted.
    #[error(
        "--allow grants the role details, and nothing is redacted; add --redact, or remove the role"
    )]
    NothingRedacted,
    /// The log filter cannot be parsed.
    #[error(
        "--log `{filter}` is not a filter ({reason}); use error, warn, info, debug or trace, or MODULE=LEVEL"
    )]
    Log {
        /// The given filter.
        filter: String,
        /// The error in it.
        reason: String,
    },
    /// The state directory does not exist.
    #[error("--state-dir {path} does not exist; create it first: mkdir -m 700 -p {path}", path = .0.display())]
    NoStateDir(PathBuf),
    /// The state directory is a file.
    #[error("--state-dir {path} is not a directory; name a directory", path = .0.display())]
    StateDirIsFile(PathBuf),
    /// The state directory cannot be examined.
    #[error("examining --state-dir {path} failed: {source}; name a directory that the agent can reach", path = .path.display())]
    StateDir {
        /// The directory.
        path: PathBuf,
        /// The error of stat(2).
        source: io::Error,
    },
    /// A user is named, and the sandbox that would switch to it is disabled.
    #[error(
        "--user and --no-sandbox contradict each other: without the sandbox the agent keeps its user; remove one of them"
    )]
    UserWithoutSandbox,
    /// A flag has no effect on a capture.
    #[error("--{0} is a setting of the serving agent, and has no effect on a capture; remove it")]
    NotForCapture(String),
    /// The doctor checks the kernel of this machine, not a simulated one.
    #[error(
        "--kernel sim cannot be used with the doctor, which checks the kernel of this machine; remove \
         it, and the variable TASKSTATSD_KERNEL"
    )]
    SimulatedDoctor,
    /// Simulated sockets cannot be handed over.
    #[error(
        "--state-dir cannot be used with --kernel sim: simulated sockets end with the agent, so \
         nothing can be handed over; remove one of them"
    )]
    SimulatedState,
    /// Two listeners have the same address.
    #[error("--listen names {0} twice; remove one of them")]
    Twice(ListenAddress),
    /// An address cannot be used.
    #[error(transparent)]
    Address(#[from] AddressError),
}
