//! The errors of binding, confining and starting an agent.

use std::io;
use std::sync::Arc;

use crate::advice::HasCause;
use crate::config::ConfigError;
use crate::exits::{self, WatchError};
use crate::listen::BindError;
use crate::rpc::NodeError;
use crate::sandbox::SandboxError;
use crate::security::tls::TlsError;
use crate::taskstats::{BrokerError, CpumaskError, KernelError};
use crate::workload::AttributionError;

/// An error that keeps an agent from starting.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A listener could not be bound.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The kernel or its procfs could not be read.
    #[error("{}", .0.advised())]
    Kernel(#[from] KernelError),
    /// The process that makes the requests which need `CAP_NET_ADMIN` did not start.
    #[error("starting the broker, which queries the kernel for the agent, failed: {0}")]
    Broker(#[from] BrokerError),
    /// The simulated kernel did not start.
    #[error("starting the simulated kernel failed: {0}")]
    Simulation(#[source] io::Error),
    /// The certificates cannot be used.
    #[error("{}", .0.advised())]
    Tls(#[from] TlsError),
    /// The properties of this node could not be read.
    #[error(transparent)]
    Node(#[from] NodeError),
    /// A setting does not fit to the sockets that the service manager passed.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The open file descriptors could not be counted.
    #[error("counting the open files in /proc/self/fd failed: {0}; the agent needs /proc")]
    Descriptors(#[source] io::Error),
    /// The sandbox could not be applied.
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
    /// Exits cannot be attributed, and `--attribution kernel` is set.
    #[error("attributing exits failed, and --attribution kernel is set: {0}")]
    Attribution(#[source] AttributionError),
    /// The CPU list of `--always-watch` cannot be used.
    #[error("--always-watch: {0}")]
    AlwaysWatch(#[source] CpumaskError),
    /// The CPUs of `--always-watch` cannot be watched, and `--fail-fast` is set.
    #[error("watching the CPUs of --always-watch failed, and --fail-fast is set: {}", .0.advised())]
    Claim(#[from] WatchError),
    /// Exits cannot be watched, and `--fail-fast` is set.
    #[error("exits cannot be watched, and --fail-fast is set: {}", .0.advised())]
    ExitsUnavailable(Arc<KernelError>),
    /// The exit reader did not start.
    #[error(transparent)]
    Exits(#[from] exits::StartError),
    /// The reflection service could not be built.
    #[error("building the reflection service failed: {0}")]
    Reflection(#[from] tonic_reflection::server::Error),
}
