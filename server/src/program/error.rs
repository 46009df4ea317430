//! The errors that end the process.

use std::io;
use std::path::PathBuf;

use crate::agent::RunError;
use crate::capture::RecordError;
use crate::config::ConfigError;
use crate::sandbox::SandboxError;

/// An error that ends the process. `main` maps each to an exit code.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The command line cannot be parsed. The message has been printed.
    #[error("the command line cannot be parsed")]
    Usage,
    /// A setting cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The variables of the service manager cannot be parsed.
    #[error("reading the service manager's LISTEN_FDS and LISTEN_FDNAMES failed: {0}")]
    Inherited(#[source] io::Error),
    /// The permitted capabilities could not be made effective.
    #[error("making capabilities effective failed: {0}")]
    Capabilities(#[source] SandboxError),
    /// The runtime could not be started.
    #[error("starting the runtime failed: {0}")]
    Runtime(#[source] io::Error),
    /// The signal handlers could not be installed.
    #[error("installing signal handlers failed: {0}")]
    Signals(#[source] io::Error),
    /// The agent did not start, or ended by itself.
    #[error(transparent)]
    Agent(#[from] RunError),
    /// The capture failed.
    #[error(transparent)]
    Capture(#[from] RecordError),
    /// The output of a command could not be written.
    #[error("writing the output failed: {0}")]
    Output(#[source] io::Error),
    /// A manual page or a completion script could not be written.
    #[error("writing {path} failed: {source}", path = .path.display())]
    Generate {
        /// The file.
        path: PathBuf,
        /// The error of the system.
        source: io::Error,
    },
}
