//! The agent: bound from a configuration, confined, started, and drained.

mod attribution;
mod bind;
mod confine;
mod delay_accounting;
mod drain;
mod error;
mod health;
mod in_flight;
mod limits;
mod resume;
mod run;
mod start;
mod startup_log;

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::unix::pipe::Receiver;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use self::attribution::Attribution;
pub use self::drain::Drained;
pub(crate) use self::error::StartError;
use self::health::{HealthTask, RunningHealthTask, exits_unavailable};
use self::in_flight::InFlight;
use self::resume::Resumed;
pub(crate) use self::run::RunError;
pub(crate) use self::run::run;
use crate::capacity::MemoryLimit;
use crate::config::Config;
use crate::exits::Exits;
use crate::handover::{Handover, StoredDescriptor};
use crate::listen::Listener;
use crate::readiness::Readiness;
use crate::rpc::{Health, Node};
use crate::security::tls::{ReloadHandle, Reloader};
use crate::taskstats::{Cpumask, Kernel};
use crate::workload::RunningFollower;

/// The threads beside the event loop, for calls whose time in the kernel grows with the request.
const BLOCKING_THREADS: usize = 4;
/// The threads for blocking calls never end: where the system starts no further thread, calls wait for an
/// existing one, and a runtime that has none left would panic.
const THREAD_KEEP_ALIVE: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// An agent whose listeners are bound. It does not serve yet, and has started no thread.
#[derive(Debug)]
pub struct Agent {
    listeners: Vec<Listener>,
    /// The certificates of TCP listeners, unless these are plaintext.
    certificates: Option<Reloader>,
    kernel: Arc<dyn Kernel>,
    /// Reads as closed when the broker has ended, if there is one.
    broker_end: Option<OwnedFd>,
    node: Node,
    handover: Option<Handover>,
    /// Sockets of the previous run, from the service manager's descriptor store.
    stored: Vec<StoredDescriptor>,
    always_watch: Option<Cpumask>,
    attribution: Attribution,
    /// The number of concurrent TLS handshakes for which there are file descriptors.
    handshakes: usize,
    /// The memory limit of the control group, which cannot be read inside the sandbox.
    memory_limit: Option<MemoryLimit>,
    config: Config,
}

/// An agent that serves.
#[derive(Debug)]
pub struct Running {
    serving: JoinHandle<()>,
    in_flight: InFlight,
    /// Reads the certificates again when they change.
    reloading: Option<JoinHandle<()>>,
    /// Requests that the certificates are read now.
    reload: Option<ReloadHandle>,
    stop: CancellationToken,
    exits: Arc<Exits>,
    node: Arc<Node>,
    handover: Option<Handover>,
    readiness: Readiness,
    health_task: Option<RunningHealthTask>,
    health: Health,
    /// Reads as closed when the broker has ended, if there is one.
    broker_end: Option<Receiver>,
    fail_fast: bool,
    drain_timeout: Duration,
    /// Follows cgroups until the agent has ended.
    _follower: Option<RunningFollower>,
}

/// Creates the runtime of an agent: one thread, beside the thread of the exit reader. A second thread would
/// only add hand-overs between threads to the path of an exit.
///
/// # Errors
/// The error of the system.
pub fn runtime() -> io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(BLOCKING_THREADS)
        .thread_keep_alive(THREAD_KEEP_ALIVE)
        .thread_name("slow-call")
        .build()
}
