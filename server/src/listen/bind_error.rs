//! Errors of binding.

use std::io;
use std::path::{Path, PathBuf};

use super::ListenAddress;

/// An error at binding a listener.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// A process accepts connections at the path.
    #[error("{path} is in use by a process that accepts connections; stop it or choose another path", path = .0.display())]
    InUse(PathBuf),
    /// A file that is no socket is at the path.
    #[error("{path} exists and is no socket; remove it or choose another path", path = .0.display())]
    NotASocket(PathBuf),
    /// The directory does not exist.
    #[error("the directory of {path} does not exist; create it first: mkdir -p {directory}", path = .0.display(), directory = .0.parent().unwrap_or(Path::new("/")).display())]
    NoDirectory(PathBuf),
    /// A user other than root and the agent's could replace the socket of a root agent.
    #[error("{path} is no safe place for a socket of root: {exposed}; use a directory that root alone can change, such as /run/taskstatsd, and whose parents are such", path = .path.display())]
    Exposed {
        /// The socket.
        path: PathBuf,
        /// The path that can be changed, and the user who can.
        exposed: String,
    },
    /// The service manager passed something else.
    #[error(
        "the descriptor `{name}` that the service manager passed cannot be listened on: {source}"
    )]
    Inherited {
        /// The descriptor's name.
        name: String,
        /// The error of the system call.
        source: io::Error,
    },
    /// The system refused.
    #[error("listening on {address} failed at {operation}: {source}")]
    System {
        /// The address.
        address: ListenAddress,
        /// The operation.
        operation: &'static str,
        /// The error of the system call.
        source: io::Error,
    },
}
