//! Why a configuration cannot be used.

use std::io;
use std::path::PathBuf;

use crate::listen::{AddressError, ListenAddress};

/// A setting that the agent cannot run with.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// Plaintext TCP was not allowed.
    #[error(
        "{0} has neither encryption nor authentication, and whoever reads the accounts of all \
         processes can learn secrets from them (CVE-2011-2494); use a unix:// listener, add \
         --tls-cert, --tls-key and --client-ca, or add --insecure if the network is trusted"
    )]
    Plaintext(ListenAddress),
    /// A flag means nothing without another.
    #[error("{flag} needs {missing} as well")]
    Incomplete {
        /// The flag.
        flag: &'static str,
        /// The other.
        missing: &'static str,
    },
    /// TLS is wanted and not wanted.
    #[error("--insecure and --tls-cert contradict each other; leave one of them out")]
    InsecureTls,
    /// Nobody can come by TLS.
    #[error(
        "--tls-cert has no effect without a tcp:// listener; add --listen tcp://HOST:PORT, or leave it out"
    )]
    UnusedTls,
    /// Whoever reaches the port would be let in by TLS.
    #[error(
        "TLS without --client-ca opens the accounts of all processes to whoever reaches the port; add \
         --client-ca, or say what callers may do: --allow anonymous=query,watch,node lets in everybody"
    )]
    OpenTls,
    /// A number is out of its range.
    #[error("{flag} {value} is out of range; use {range}")]
    OutOfRange {
        /// The flag.
        flag: &'static str,
        /// What was given.
        value: String,
        /// What is possible.
        range: String,
    },
    /// A role for what is not there.
    #[error(
        "--allow gives role details, and nothing is redacted; add --redact, or leave the role out"
    )]
    NothingRedacted,
    /// The log filter is none.
    #[error(
        "--log `{filter}` is no filter ({reason}); use error, warn, info, debug or trace, or MODULE=LEVEL"
    )]
    Log {
        /// What was given.
        filter: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The state folder is not there.
    #[error("--state-dir {path} does not exist; make it first: mkdir -m 700 -p {path}", path = .0.display())]
    NoStateDir(PathBuf),
    /// The state folder is something else.
    #[error("--state-dir {path} is no folder; name a folder", path = .0.display())]
    StateDirIsFile(PathBuf),
    /// The state folder cannot be looked at.
    #[error("--state-dir {path} cannot be looked at: {source}; name a folder that the agent can reach", path = .path.display())]
    StateDir {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Two flags contradict each other.
    #[error(
        "--user and --no-sandbox contradict each other: without the sandbox no user is left; give one of them"
    )]
    UserWithoutSandbox,
    /// A flag says nothing to a capture.
    #[error("--{0} is a setting of the serving agent, and says nothing to a capture; leave it out")]
    NotForCapture(String),
    /// The doctor examines the machine, and no invented one.
    #[cfg(feature = "sim")]
    #[error(
        "--kernel sim says nothing to the doctor, who examines the kernel of this machine; leave it \
         out, and the variable TASKSTATSD_KERNEL with it"
    )]
    SimulatedPatient,
    /// What is simulated has no sockets to hand over.
    #[error(
        "--state-dir cannot be used with --kernel sim: simulated sockets end with the agent, so that \
         there is nothing to hand over; leave one of them out"
    )]
    SimulatedState,
    /// Two listeners are the same.
    #[error("{0} is given twice as a listener")]
    Twice(ListenAddress),
    /// An address cannot be used.
    #[error(transparent)]
    Address(#[from] AddressError),
}
