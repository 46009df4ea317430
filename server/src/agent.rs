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

use crate::config::{Config, ConfigError, Sandbox};
use crate::exits::{self, Claim, Exits, WatchError};
use crate::handover::{self, Handover, Predecessor, StoredSocket};
use crate::inherit::Inherited;
use crate::listen::{BindError, Incoming, ListenAddress, Listener};
use crate::notify;
use crate::rpc::{Node, NodeError, Service};
use crate::sandbox::{self, Gap, Paths, SandboxError};
use crate::taskstats::{Cpumask, CpumaskError, Kernel, KernelError, LinuxKernel};

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
/// The longest drain while sockets wait for a successor: nobody reads them meanwhile.
const HANDOVER_DRAIN: Duration = Duration::from_secs(1);
/// Threads beside the event loop, for calls whose kernel time grows with what they ask for.
const BLOCKING_THREADS: usize = 4;

/// An agent with bound listeners, which does not serve yet, and has no thread but the caller's.
#[derive(Debug)]
pub struct Agent {
    listeners: Vec<Listener>,
    kernel: Arc<dyn Kernel>,
    node: Node,
    handover: Option<Handover>,
    /// Sockets that an earlier run left.
    stored: Vec<StoredSocket>,
    always_watch: Option<Cpumask>,
    config: Config,
}

/// An agent that serves.
#[derive(Debug)]
pub struct Running {
    serving: JoinHandle<Result<(), tonic::transport::Error>>,
    stop: CancellationToken,
    exits: Arc<Exits>,
    node: Arc<Node>,
    handover: Option<Handover>,
    /// Keeps the CPUs of `--always-watch` listened to.
    _always_watch: Option<Claim>,
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
    /// A descriptor that the service manager passed may not be listened on.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Rights could not be given up.
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
    /// The CPUs to always listen to are no CPUs.
    #[error("--always-watch: {0}")]
    AlwaysWatch(#[source] CpumaskError),
    /// They cannot be listened to.
    #[error("--always-watch cannot be done: {0}")]
    Claim(#[from] WatchError),
    /// Exits cannot be served.
    #[error(transparent)]
    Exits(#[from] exits::StartError),
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
    /// Binds all listeners and prepares to ask the running kernel. Listeners among `inherited`, which
    /// the service manager passed, stand for those of the configuration.
    ///
    /// # Errors
    /// [`StartError`], with nothing left behind.
    pub async fn bind(config: Config, inherited: Vec<Inherited>) -> Result<Self, StartError> {
        let kernel = Arc::new(LinuxKernel::new(config.reader.receive_buffer)?);
        Self::bind_with(config, inherited, kernel).await
    }

    /// Binds all listeners, for another kernel than the running one.
    ///
    /// # Errors
    /// As [`Agent::bind`].
    pub async fn bind_with(
        config: Config,
        inherited: Vec<Inherited>,
        kernel: Arc<dyn Kernel>,
    ) -> Result<Self, StartError> {
        let always_watch = config.always_watch.as_deref();
        let always_watch = always_watch.map(|list| Cpumask::parse(list, kernel.possible_cpus()));
        let always_watch = always_watch.transpose().map_err(StartError::AlwaysWatch)?;
        let (stored, passed) = sort_inherited(inherited);
        let listeners = bind_listeners(&config, passed).await?;
        let node = Node::read(config.node_name.clone())?;
        let handover = config.state_dir.as_ref();
        let handover = handover.map(|folder| Handover::new(folder, node.boot_id.clone()));
        if handover.is_some() && !notify::is_heard() {
            tracing::warn!("--state-dir has no effect without a service manager");
        }
        if let Err(error) = notify::connect() {
            tracing::warn!(%error, "the service manager cannot be reached");
        }
        Ok(Self { listeners, kernel, node, handover, stored, always_watch, config })
    }

    /// Gives up all rights of this process that serving does not take, unless the configuration says
    /// otherwise. The process must have no other thread yet.
    ///
    /// # Errors
    /// [`StartError::Sandbox`]; some rights are gone then.
    pub fn confine(mut self) -> Result<Self, StartError> {
        self.node.sandbox = match &self.config.sandbox {
            Sandbox::Off => sandbox::none(),
            Sandbox::On(user) => sandbox::enter(user.as_ref(), &self.paths())?,
        };
        Ok(self)
    }

    /// The files that it goes on to use.
    fn paths(&self) -> Paths {
        let mut paths = Paths::new();
        for listener in &self.listeners {
            // Of one that the service manager made, the file is the manager's.
            if let (Listener::Unix(_, Some(_)), Ok(ListenAddress::Unix(path))) =
                (listener, listener.address())
            {
                paths.remove_socket(&path);
            }
        }
        if let Some(folder) = &self.config.state_dir {
            paths.keep_state(folder);
        }
        paths
    }

    /// Takes up what an earlier run left, and serves until [`Running::drain`].
    ///
    /// # Errors
    /// When exits cannot be taken, or the contract's descriptors cannot be served.
    pub async fn serve(mut self) -> Result<Running, StartError> {
        self.log_start();
        let stored = std::mem::take(&mut self.stored);
        let predecessor = predecessor(self.handover.as_ref(), stored);
        let exits = start_exits(&self.config, &self.kernel, &mut self.node, predecessor)?;
        let exits = Arc::new(exits);
        let node = Arc::new(self.node);
        let always_watch = match self.always_watch {
            Some(cpus) => Some(exits.claim(cpus).await?),
            None => None,
        };
        let watchable = self.kernel.check_exits();
        if let Err(error) = &watchable {
            tracing::warn!("{error}");
        }
        let (health, health_service) = tonic_health::server::health_reporter();
        let service_status = match watchable {
            Ok(()) => ServingStatus::Serving,
            Err(_) => ServingStatus::NotServing,
        };
        health.set_service_status(WHOLE_AGENT, ServingStatus::Serving).await;
        health.set_service_status(SERVICE_NAME, service_status).await;
        let service =
            Service::new(self.kernel, Arc::clone(&exits), Arc::clone(&node), self.config.limits);
        let service =
            TaskstatsServiceServer::new(service).max_decoding_message_size(MAX_REQUEST_BYTES);
        let router = server().add_service(service).add_service(health_service);
        let router = add_reflection(router)?;
        let stop = CancellationToken::new();
        let stopped = stop.clone().cancelled_owned();
        let incoming = Incoming::new(self.listeners);
        Ok(Running {
            serving: tokio::spawn(router.serve_with_incoming_shutdown(incoming, stopped)),
            stop,
            exits,
            node,
            handover: self.handover,
            _always_watch: always_watch,
            health,
            drain_timeout: self.config.drain_timeout,
        })
    }

    fn log_start(&self) {
        tracing::info!("rights: {}", self.node.sandbox);
        for gap in &self.node.sandbox.gaps {
            match gap {
                Gap::NoSandbox => tracing::warn!("{gap}"),
                _ => tracing::info!("{gap}"),
            }
        }
        for listener in &self.listeners {
            match listener.address() {
                Ok(address) => tracing::info!("listening on {address}"),
                Err(error) => tracing::warn!(%error, "listening, but where is not known"),
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
    }
}

impl Running {
    /// Tells watchers their last cursor, lets calls finish, and ends at the deadline at the latest.
    pub async fn drain(mut self) -> Drained {
        self.health.set_service_status(WHOLE_AGENT, ServingStatus::NotServing).await;
        self.health.set_service_status(SERVICE_NAME, ServingStatus::NotServing).await;
        // Ends the streams of those who watch the health: else they would last to the deadline.
        self.health.clear_service_status(WHOLE_AGENT).await;
        self.health.clear_service_status(SERVICE_NAME).await;
        self.stop.cancel();
        let end = Ending {
            exits: Arc::clone(&self.exits),
            node: Arc::clone(&self.node),
            handover: self.handover.take().filter(|_| notify::is_heard()),
        };
        let timeout = match end.handover {
            Some(_) => self.drain_timeout.min(HANDOVER_DRAIN),
            None => self.drain_timeout,
        };
        // Beside the event loop, because it waits for the reader and writes a file.
        let ended = tokio::task::spawn_blocking(move || end.run());
        let drained = tokio::time::timeout(timeout, async {
            let ended = ended.await.is_ok();
            ended && matches!((&mut self.serving).await, Ok(Ok(())))
        });
        if drained.await.unwrap_or(false) {
            return Drained::Complete;
        }
        self.serving.abort();
        Drained::CutOff
    }

    /// Waits for serving to end by itself, which it does only if it fails.
    pub async fn failed(&mut self) -> String {
        tokio::select! {
            served = &mut self.serving => match served {
                Ok(Ok(())) => "the server ended".to_owned(),
                Ok(Err(error)) => error.to_string(),
                Err(error) => error.to_string(),
            },
            () = self.exits.ended() => "the exit reader ended".to_owned(),
        }
    }
}

/// The end of the exits, which may wait.
struct Ending {
    exits: Arc<Exits>,
    node: Arc<Node>,
    /// Only under a service manager.
    handover: Option<Handover>,
}

impl Ending {
    /// Ends the reader; leaves its sockets and the history to a successor, if there is a way.
    fn run(self) {
        let Some(handover) = self.handover else {
            self.exits.stop();
            return;
        };
        match handover.leave(&self.node.instance_id, self.exits.stop_and_keep()) {
            Ok(()) => tracing::info!("left sockets and history to the next run"),
            Err(error) => tracing::warn!(%error, "nothing is left to the next run"),
        }
    }
}

/// Tells stored sockets from those to listen on.
fn sort_inherited(inherited: Vec<Inherited>) -> (Vec<StoredSocket>, Vec<Inherited>) {
    let (mut stored, mut passed) = (Vec::new(), Vec::new());
    for inherited in inherited {
        match StoredSocket::try_from_inherited(inherited) {
            Ok(socket) => stored.push(socket),
            Err(other) => passed.push(other),
        }
    }
    (stored, passed)
}

async fn bind_listeners(
    config: &Config,
    passed: Vec<Inherited>,
) -> Result<Vec<Listener>, StartError> {
    let mut listeners = Vec::new();
    if passed.is_empty() {
        for address in &config.listen {
            listeners.push(Listener::bind(address).await?);
        }
        return Ok(listeners);
    }
    tracing::info!("the service manager passed sockets, which stand for --listen");
    for inherited in passed {
        let listener = Listener::adopt(inherited)?;
        config.check_plaintext(&listener.address()?)?;
        listeners.push(listener);
    }
    Ok(listeners)
}

/// What an earlier run left, or `None` with a word why it cannot be used.
fn predecessor(handover: Option<&Handover>, stored: Vec<StoredSocket>) -> Option<Predecessor> {
    let Some(handover) = handover else {
        handover::discard(stored);
        return None;
    };
    handover.take(stored).unwrap_or_else(|error| {
        tracing::warn!(%error, "what an earlier run left is not taken up; cursors of it are void");
        None
    })
}

/// Goes on where the predecessor stopped, under its instance id, or begins anew.
fn start_exits(
    config: &Config,
    kernel: &Arc<dyn Kernel>,
    node: &mut Node,
    predecessor: Option<Predecessor>,
) -> Result<Exits, exits::StartError> {
    let (reader, history_bytes) = (config.reader, config.history_bytes);
    if let Some(Predecessor { instance_id, kept }) = predecessor {
        match Exits::resume(Arc::clone(kernel), reader, history_bytes, kept) {
            Ok(exits) => {
                tracing::info!(instance_id, "going on where an earlier run stopped");
                node.instance_id = instance_id;
                return Ok(exits);
            }
            Err(error) => tracing::warn!(%error, "what an earlier run left cannot be taken up"),
        }
    }
    Exits::start(Arc::clone(kernel), reader, history_bytes)
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
