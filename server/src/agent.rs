//! From a configuration to a running agent, and to its end.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytesize::ByteSize;
use taskstats_proto::server::TaskstatsServiceServer;
use taskstats_proto::{FILE_DESCRIPTOR_SET, SERVICE_NAME};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;
use tonic::transport::server::Router;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

use crate::config::Config;
use crate::exits::Exits;
use crate::listen::{BindError, Incoming, Listener};
use crate::rpc::{Node, NodeError, Service};
use crate::taskstats::{Kernel, KernelError, LinuxKernel};

/// The name under which health checks ask for the agent as a whole.
const WHOLE_AGENT: &str = "";
/// The longest request: a batch of 1,000 ids, or a cpumask far too long, so that it is refused by
/// its name.
const MAX_REQUEST_BYTES: usize = 64 * 1024;
/// The longest list of headers. Tokens take a few KiB.
const MAX_HEADER_BYTES: u32 = 16 * 1024;
/// Calls at once on one connection.
const STREAMS_PER_CONNECTION: u32 = 256;
/// Peers that vanished are noticed after an interval and a timeout of silence.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(30);
/// How long a peer may take to answer a ping.
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(20);
/// Threads beside the event loop, for calls whose kernel time grows with what they ask for.
const BLOCKING_THREADS: usize = 4;

/// An agent with bound listeners, which does not serve yet.
#[derive(Debug)]
pub struct Agent {
    listeners: Vec<Listener>,
    kernel: Arc<dyn Kernel>,
    exits: Arc<Exits>,
    node: Arc<Node>,
    config: Config,
}

/// An agent that serves.
#[derive(Debug)]
pub struct Running {
    serving: JoinHandle<Result<(), tonic::transport::Error>>,
    stop: CancellationToken,
    exits: Arc<Exits>,
    health: HealthReporter,
    drain_timeout: Duration,
}

/// How an agent ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drained {
    /// All calls and streams came to their end.
    Complete,
    /// Some did not by the deadline, and were cut off.
    CutOff,
}

/// Why an agent did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A listener could not be bound.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The machine told too little about itself.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// So did procfs.
    #[error(transparent)]
    Node(#[from] NodeError),
    /// The exit reader's thread did not start.
    #[error("starting the exit reader failed: {0}")]
    Reader(#[source] io::Error),
    /// The reflection service could not be built.
    #[error("the descriptors of the contract cannot be served: {0}")]
    Reflection(#[from] tonic_reflection::server::Error),
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
        .thread_name("slow-call")
        .build()
}

impl Agent {
    /// Binds all listeners and prepares to ask the running kernel.
    ///
    /// # Errors
    /// [`StartError`], with nothing left behind.
    pub async fn bind(config: Config) -> Result<Self, StartError> {
        let kernel = Arc::new(LinuxKernel::new(config.reader.receive_buffer)?);
        Self::bind_with(config, kernel).await
    }

    /// Binds all listeners, for another kernel than the running one.
    ///
    /// # Errors
    /// As [`Agent::bind`].
    pub async fn bind_with(config: Config, kernel: Arc<dyn Kernel>) -> Result<Self, StartError> {
        let node = Arc::new(Node::read(config.node_name.clone())?);
        let mut listeners = Vec::new();
        for address in &config.listen {
            listeners.push(Listener::bind(address).await?);
        }
        let exits = Exits::start(Arc::clone(&kernel), config.reader, config.history_bytes);
        let exits = Arc::new(exits.map_err(StartError::Reader)?);
        Ok(Self { listeners, kernel, exits, node, config })
    }

    /// Serves until [`Running::drain`].
    ///
    /// # Errors
    /// When the contract's descriptors cannot be served.
    pub async fn serve(self) -> Result<Running, StartError> {
        self.log_start();
        let (health, health_service) = tonic_health::server::health_reporter();
        health.set_service_status(WHOLE_AGENT, ServingStatus::Serving).await;
        health.set_service_status(SERVICE_NAME, ServingStatus::Serving).await;
        let service = Service::new(
            Arc::clone(&self.kernel),
            Arc::clone(&self.exits),
            self.node,
            self.config.limits,
        );
        let service =
            TaskstatsServiceServer::new(service).max_decoding_message_size(MAX_REQUEST_BYTES);
        let router = server().add_service(service).add_service(health_service);
        let router = add_reflection(router)?;
        let stop = CancellationToken::new();
        let stopped = stop.clone().cancelled_owned();
        let incoming = Incoming::new(self.listeners);
        let serving =
            tokio::spawn(router.serve_with_incoming_shutdown(incoming, stopped));
        let drain_timeout = self.config.drain_timeout;
        Ok(Running { serving, stop, exits: self.exits, health, drain_timeout })
    }

    fn log_start(&self) {
        for listener in &self.listeners {
            if let Ok(address) = listener.address() {
                tracing::info!("listening on {address}");
            }
        }
        let cpus = self.kernel.possible_cpus().len();
        let receive_buffer = self.config.reader.receive_buffer;
        tracing::info!(
            history = %ByteSize::b(self.config.history_bytes as u64),
            receive_buffer = %ByteSize::b(receive_buffer as u64),
            all_receive_buffers = %ByteSize::b((cpus * receive_buffer * 2) as u64),
            "memory is bounded: the history in the agent, and while watched, up to twice the receive buffer of each CPU in the kernel"
        );
        if let Err(error) = self.kernel.check_exits() {
            tracing::warn!("{error}");
        }
    }
}

impl Running {
    /// Tells watchers their last cursor, lets calls finish, and ends at the deadline at the latest.
    pub async fn drain(mut self) -> Drained {
        self.health.set_service_status(WHOLE_AGENT, ServingStatus::NotServing).await;
        self.health.set_service_status(SERVICE_NAME, ServingStatus::NotServing).await;
        self.stop.cancel();
        self.exits.stop();
        match tokio::time::timeout(self.drain_timeout, &mut self.serving).await {
            Ok(_) => Drained::Complete,
            Err(_) => {
                self.serving.abort();
                Drained::CutOff
            }
        }
    }

    /// Waits for serving to end by itself, which it does only if it fails.
    pub async fn failed(&mut self) -> String {
        match (&mut self.serving).await {
            Ok(Ok(())) => "the server ended".to_owned(),
            Ok(Err(error)) => error.to_string(),
            Err(error) => error.to_string(),
        }
    }
}

fn server() -> Server {
    Server::builder()
        .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        .http2_max_header_list_size(MAX_HEADER_BYTES)
        .max_concurrent_streams(STREAMS_PER_CONNECTION)
}

/// Both versions of the protocol: callers in the field still speak only the older one.
fn add_reflection(router: Router) -> Result<Router, StartError> {
    let builder = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            // The messages in error details, which callers decode by reflection too.
            .register_encoded_file_descriptor_set(tonic_types::pb::FILE_DESCRIPTOR_SET)
    };
    Ok(router.add_service(builder().build_v1()?).add_service(builder().build_v1alpha()?))
}
