//! From a configuration to a running agent, and to its end.

mod attribution;
mod bind;
mod confine;
mod delay_accounting;
mod drain;
mod error;
mod health;
mod in_flight;
mod resume;
mod run;
mod start;
mod startup_log;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use self::attribution::Attribution;
pub use self::attribution::AttributionError;
use self::delay_accounting::enable_delay_accounting;
pub use self::drain::Drained;
pub use self::error::StartError;
use self::health::{HealthTask, RunningHealthTask, exits_unavailable};
pub use self::in_flight::InFlight;
use self::resume::Resumed;
pub use self::run::{Failure, Running};
use crate::capacity::MemoryLimit;
use crate::config::Config;
use crate::handover::{Handover, StoredSocket};
use crate::listen::Listener;
use crate::rpc::Node;
use crate::security::tls::Reloader;
use crate::taskstats::{Cpumask, Kernel};

/// Threads beside the event loop, for calls whose kernel time grows with what they ask for.
const BLOCKING_THREADS: usize = 4;
/// They stay: where the system starts no further thread, calls wait for one of these. A runtime that
/// has none left then would panic.
const THREADS_STAY: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// An agent with bound listeners, which does not serve yet, and has no thread but the caller's.
#[derive(Debug)]
pub struct Agent {
    listeners: Vec<Listener>,
    /// Of TCP listeners, unless these are plaintext.
    certificates: Option<Reloader>,
    kernel: Arc<dyn Kernel>,
    node: Node,
    handover: Option<Handover>,
    /// Sockets that an earlier run left.
    stored: Vec<StoredSocket>,
    always_watch: Option<Cpumask>,
    attribution: Attribution,
    /// As many TLS handshakes as there are descriptors for.
    handshakes: usize,
    /// What the control group may hold, which cannot be read later.
    memory_limit: Option<MemoryLimit>,
    config: Config,
}

/// Makes the runtime that an agent runs on: one thread, beside that of the reader. A second one
/// would only add hand-overs to the exit path.
///
/// # Errors
/// What the system said.
pub fn runtime() -> io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(BLOCKING_THREADS)
        .thread_keep_alive(THREADS_STAY)
        .thread_name("slow-call")
        .build()
}
