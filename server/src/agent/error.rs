//! Why an agent did not start.

use std::io;
use std::sync::Arc;

use super::attribution::AttributionError;
use crate::advice::HasCause;
use crate::config::ConfigError;
use crate::exits::{self, WatchError};
use crate::listen::BindError;
use crate::rpc::NodeError;
use crate::sandbox::SandboxError;
use crate::security::tls::TlsError;
use crate::taskstats::{CpumaskError, KernelError};

/// Why an agent did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A listener could not be bound.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The machine told too little about itself.
    #[error("{}", .0.advised())]
    Kernel(#[from] KernelError),
    /// The simulated kernel did not start.
    #[error("starting the simulated kernel failed: {0}")]
    Simulation(#[source] io::Error),
    /// There is no TLS with the certificates.
    #[error("{}", .0.advised())]
    Tls(#[from] TlsError),
    /// So did procfs.
    #[error(transparent)]
    Node(#[from] NodeError),
    /// A descriptor that the service manager passed may not be listened on.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// What is open could not be counted.
    #[error("counting the open files in /proc/self/fd failed: {0}; the agent needs /proc")]
    Descriptors(#[source] io::Error),
    /// Rights could not be given up.
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
    /// Exits cannot be attributed, and `--attribution` asks for it.
    #[error("--attribution kernel cannot be done: {0}")]
    Attribution(#[source] AttributionError),
    /// The CPUs to always listen to are no CPUs.
    #[error("--always-watch: {0}")]
    AlwaysWatch(#[source] CpumaskError),
    /// They cannot be listened to.
    #[error("--always-watch cannot be done: {}", .0.advised())]
    Claim(#[from] WatchError),
    /// Exits cannot be watched, and the agent was not to run then.
    #[error("exits cannot be watched, and --fail-fast says not to wait: {}", .0.advised())]
    FailFast(Arc<KernelError>),
    /// Exits cannot be served.
    #[error(transparent)]
    Exits(#[from] exits::StartError),
    /// The reflection service could not be built.
    #[error("the descriptors of the contract cannot be served: {0}")]
    Reflection(#[from] tonic_reflection::server::Error),
}
