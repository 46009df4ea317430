//! From a configuration to a running agent, and to its end.

mod announce;
mod begin;
mod ceiling;
mod confine;
mod memory_limit;
mod room;
mod switch;
mod unfinished;
mod watchdog;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use taskstats_proto::FILE_DESCRIPTOR_SET;
use taskstats_proto::server::TaskstatsServiceServer;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic_health::pb::health_server::HealthServer;

use self::begin::Begun;
pub use self::ceiling::Ceiling;
use self::memory_limit::MemoryLimit;
use self::room::make_room;
use self::switch::enable_delay_accounting;
pub use self::unfinished::Unfinished;
use self::watchdog::{Guard, Watchdog, misplaced};
use crate::config::{Config, ConfigError, KernelChoice};
use crate::exits::{self, Exits, WatchError};
use crate::handover::{Handover, StoredSocket};
use crate::inherit::Inherited;
use crate::listen::{BindError, Incoming, Listener, Security};
use crate::notify;
use crate::readiness::Readiness;
use crate::rpc::{Health, Node, NodeError, SMALL_REQUEST, Service};
use crate::sandbox::SandboxError;
use crate::security::Callers;
use crate::security::tls::{Reloader, TlsError};
use crate::serve::Server;
use crate::taskstats::{Cpumask, CpumaskError, Kernel, KernelError, LinuxKernel};
use crate::worker::Worker;

/// The longest drain while sockets wait for a successor: nobody reads them meanwhile.
const HANDOVER_DRAIN: Duration = Duration::from_secs(1);
/// Threads beside the event loop, for calls whose kernel time grows with what they ask for.
const BLOCKING_THREADS: usize = 4;
/// Name of the thread that ends the exits.
const ENDING_THREAD: &str = "ending";
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
    /// As many TLS handshakes as there are descriptors for.
    handshakes: usize,
    /// What the control group may hold, which cannot be read later.
    memory_limit: Option<MemoryLimit>,
    config: Config,
}

/// An agent that serves.
#[derive(Debug)]
pub struct Running {
    serving: JoinHandle<()>,
    unfinished: Unfinished,
    /// Reads certificates again when they change.
    reloading: Option<JoinHandle<()>>,
    stop: CancellationToken,
    exits: Arc<Exits>,
    node: Arc<Node>,
    handover: Option<Handover>,
    readiness: Readiness,
    watchdog: Option<Guard>,
    health: Health,
    fail_fast: bool,
    drain_timeout: Duration,
}

/// Why an agent cannot go on.
#[derive(Debug)]
pub enum Failure {
    /// A part of it ended by itself.
    Broken(String),
    /// Exits cannot be watched any more, and `--fail-fast` says to end then.
    Misplaced(Arc<KernelError>),
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
    /// The simulated kernel did not start.
    #[error("starting the simulated kernel failed: {0}")]
    Simulation(#[source] io::Error),
    /// There is no TLS with the certificates.
    #[error(transparent)]
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
    /// The CPUs to always listen to are no CPUs.
    #[error("--always-watch: {0}")]
    AlwaysWatch(#[source] CpumaskError),
    /// They cannot be listened to.
    #[error("--always-watch cannot be done: {0}")]
    Claim(#[from] WatchError),
    /// Exits cannot be watched, and the agent was not to run then.
    #[error("exits cannot be watched, and --fail-fast says not to wait: {0}")]
    FailFast(Arc<KernelError>),
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
        .thread_keep_alive(THREADS_STAY)
        .thread_name("slow-call")
        .build()
}

impl Agent {
    /// Binds all listeners and prepares to ask the kernel that the configuration names. Listeners among `inherited`, which
    /// the service manager passed, stand for those of the configuration.
    ///
    /// # Errors
    /// [`StartError`], with nothing left behind.
    pub async fn bind(mut config: Config, inherited: Vec<Inherited>) -> Result<Self, StartError> {
        let kernel = open_kernel(&mut config)?;
        Self::bind_with(config, inherited, kernel).await
    }

    /// Binds all listeners, for any kernel.
    ///
    /// # Errors
    /// As [`Agent::bind`].
    pub async fn bind_with(
        mut config: Config,
        inherited: Vec<Inherited>,
        kernel: Arc<dyn Kernel>,
    ) -> Result<Self, StartError> {
        let always_watch = config.always_watch.as_deref();
        let always_watch = always_watch.map(|list| Cpumask::parse(list, kernel.possible_cpus()));
        let always_watch = always_watch.transpose().map_err(StartError::AlwaysWatch)?;
        let (stored, passed) = sort_inherited(inherited);
        let listeners = bind_listeners(&config, passed).await?;
        let certificates = load_certificates(&config)?;
        let mut node = Node::read(config.node_name.clone())?.running_on(&*kernel)?;
        node.tls = certificates.as_ref().map(Reloader::tls);
        if let Some(folder) = config.state_dir.take_if(|_| !notify::is_heard()) {
            tracing::warn!(
                "--state-dir {}: hand-over is off, and the folder left as it is: no service manager keeps the sockets over a restart (NOTIFY_SOCKET is not set); run the agent by a unit with Type=notify and FileDescriptorStoreMax=, or leave the flag out",
                folder.display()
            );
        }
        let handover = config.state_dir.as_ref();
        let handover = handover.map(|folder| Handover::new(folder, node.boot_id.clone()));
        if let Err(error) = notify::connect() {
            tracing::warn!(%error, "the service manager cannot be reached");
        }
        if config.enable_delay_accounting {
            enable_delay_accounting(&*kernel);
        }
        let handshakes = make_room(&mut config, &*kernel, stored.len());
        let handshakes = handshakes.map_err(StartError::Descriptors)?;
        Ok(Self {
            listeners,
            certificates,
            kernel,
            node,
            handover,
            stored,
            always_watch,
            handshakes,
            memory_limit: MemoryLimit::read(),
            config,
        })
    }

    /// Takes up what an earlier run left, and serves until [`Running::drain`].
    ///
    /// # Errors
    /// When exits cannot be taken, or the contract's descriptors cannot be served.
    pub async fn serve(mut self) -> Result<Running, StartError> {
        self.log_start();
        let Begun { exits, keeper, readiness, always_watch } = self.begin().await?;
        let node = Arc::new(self.node);
        let health = Health::default();
        health.begin().await;
        let watchdog = Watchdog {
            keeper,
            readiness: readiness.clone(),
            exits: Arc::clone(&exits),
            health: health.reporter(),
            always_watch,
        };
        let (tls, certificates) = (self.config.tls.clone(), self.certificates.as_ref());
        let Config { policy, redaction, limits, connection, .. } = self.config;
        let callers = Arc::new(Callers::new(policy, redaction, limits));
        let security = tls.zip(certificates).map(|(config, certificates)| Security {
            tls: certificates.tls(),
            handshake_timeout: config.handshake_timeout,
            handshakes: self.handshakes,
            callers: Arc::clone(&callers),
        });
        let service = Service::new(
            self.kernel,
            Arc::clone(&exits),
            Arc::clone(&node),
            readiness.clone(),
            Arc::clone(&callers),
        );
        let longest = connection.size.request;
        let service = TaskstatsServiceServer::new(service).max_decoding_message_size(longest);
        let small = longest.min(SMALL_REQUEST);
        let checks = HealthServer::new(health.checks()).max_decoding_message_size(small);
        let routes = Routes::new(service).add_service(checks);
        let routes = add_reflection(routes, small)?.prepare();
        let unfinished = Unfinished(Arc::clone(&callers));
        let server = Server { routes, callers, limits: connection };
        let stop = CancellationToken::new();
        let incoming = Incoming::new(self.listeners, security);
        Ok(Running {
            serving: tokio::spawn(server.run(incoming, stop.clone())),
            reloading: self.certificates.map(|certificates| tokio::spawn(certificates.run())),
            unfinished,
            stop,
            exits,
            node,
            handover: self.handover,
            readiness,
            watchdog: Some(watchdog.start().await),
            health,
            fail_fast: self.config.fail_fast,
            drain_timeout: self.config.drain_timeout,
        })
    }
}

impl Running {
    /// Tells watchers their last cursor, lets calls finish, and ends at the deadline at the latest.
    pub async fn drain(mut self) -> Drained {
        let _always_watch = match self.watchdog.take() {
            Some(watchdog) => watchdog.end().await,
            None => None,
        };
        self.health.end().await;
        self.stop.cancel();
        let end = Arc::new(Ending {
            exits: Arc::clone(&self.exits),
            node: Arc::clone(&self.node),
            handover: self.handover.take().filter(|_| notify::is_heard()),
        });
        let timeout = match end.handover {
            Some(_) => self.drain_timeout.min(HANDOVER_DRAIN),
            None => self.drain_timeout,
        };
        let ending = end.start();
        let drained = tokio::time::timeout(timeout, async {
            if let Some(reloading) = self.reloading.take() {
                reloading.abort();
                // It was told to end, and has nothing to say.
                drop(reloading.await);
            }
            let ended = match ending {
                Some(ending) => ending.outcome().await.is_some(),
                None => true,
            };
            ended && (&mut self.serving).await.is_ok()
        });
        if drained.await.unwrap_or(false) {
            return Drained::Complete;
        }
        tracing::warn!("cut off what had not ended by the deadline: {}", self.unfinished);
        self.serving.abort();
        Drained::CutOff
    }

    /// Waits for a reason to end that nobody asked for.
    pub async fn failed(&mut self) -> Failure {
        let misplaced = misplaced(self.readiness.clone());
        tokio::select! {
            served = &mut self.serving => Failure::Broken(match served {
                Ok(()) => "the server ended".to_owned(),
                Err(error) => error.to_string(),
            }),
            () = self.exits.ended() => Failure::Broken("the exit reader ended".to_owned()),
            error = misplaced, if self.fail_fast => Failure::Misplaced(error),
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
    /// Runs beside the event loop, because it waits for the reader and writes a file; and not behind
    /// slow calls, because they may take all of its time. Without a thread it has run already.
    fn start(self: Arc<Self>) -> Option<Worker<()>> {
        let end = Arc::clone(&self);
        match Worker::start(ENDING_THREAD, move || end.run()) {
            Ok(worker) => Some(worker),
            Err(error) => {
                tracing::warn!(%error, "no thread could be started to end on");
                self.run();
                None
            }
        }
    }

    /// Ends the reader; leaves its sockets and the history to a successor, if there is a way.
    fn run(&self) {
        let Some(handover) = &self.handover else {
            self.exits.stop();
            return;
        };
        match handover.leave(&self.node.instance_id, self.exits.stop_and_hand_off()) {
            Ok(()) => tracing::info!("left sockets and history to the next run"),
            Err(error) => tracing::warn!(%error, "nothing is left to the next run"),
        }
    }
}

/// Opens the kernel that the configuration names, and takes down how large receive buffers it grants.
fn open_kernel(config: &mut Config) -> Result<Arc<dyn Kernel>, StartError> {
    let receive_buffer = &mut config.reader.receive_buffer;
    match config.kernel {
        KernelChoice::Linux => {
            let kernel = LinuxKernel::new(*receive_buffer)?;
            Ok(Arc::new(match config.ignore_known_bad_kernel {
                true => kernel.ignoring_known_bugs(),
                false => kernel,
            }))
        }
        #[cfg(feature = "sim")]
        KernelChoice::Sim(spec) => {
            let kernel = crate::sim::SimKernel::prepare(spec, *receive_buffer);
            *receive_buffer = spec.granted(*receive_buffer);
            Ok(Arc::new(kernel))
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
        config.check_tls(config.listen.iter())?;
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
    let addresses: Vec<_> = listeners.iter().map(Listener::address).collect::<Result<_, _>>()?;
    config.check_tls(addresses.iter())?;
    Ok(listeners)
}

fn load_certificates(config: &Config) -> Result<Option<Reloader>, TlsError> {
    let tls = config.tls.as_ref();
    tls.map(|tls| Reloader::start(tls.files.clone(), tls.min_version)).transpose()
}

/// Both versions of the protocol: callers in the field still speak only the older one.
fn add_reflection(routes: Routes, longest: usize) -> Result<Routes, StartError> {
    let builder = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            // The messages in error details, which callers decode by reflection too.
            .register_encoded_file_descriptor_set(tonic_types::pb::FILE_DESCRIPTOR_SET)
    };
    let newer = builder().build_v1()?.max_decoding_message_size(longest);
    let older = builder().build_v1alpha()?.max_decoding_message_size(longest);
    Ok(routes.add_service(newer).add_service(older))
}
