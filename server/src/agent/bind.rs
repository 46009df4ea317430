//! Binding: everything that needs privileges, or must precede the first thread.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use super::attribution::Attribution;
use super::delay_accounting::enable_delay_accounting;
use super::{Agent, StartError};
use crate::capacity::{MemoryLimit, fit_to_fd_limit};
use crate::config::{Config, KernelChoice, Sandbox};
use crate::handover::{Handover, StoredDescriptor};
use crate::inherit::Inherited;
use crate::listen::Listener;
use crate::notify;
use crate::rpc::Node;
use crate::sandbox::{self, SandboxError, User};
use crate::security::tls::{Reloader, TlsError};
use crate::taskstats::{Cpumask, Kernel, LinuxKernel};

impl Agent {
    /// Binds all listeners and opens the kernel that the configuration names. Listening sockets among
    /// `inherited`, which the service manager passed, replace those of the configuration.
    ///
    /// # Errors
    /// `StartError`; nothing is left behind then.
    pub async fn bind(mut config: Config, inherited: Vec<Inherited>) -> Result<Self, StartError> {
        let opened = open_kernel(&mut config)?;
        Self::bind_parts(config, inherited, opened).await
    }

    /// Binds all listeners, for a kernel of the caller's.
    ///
    /// # Errors
    /// The errors of [`Agent::bind`].
    pub async fn bind_with(
        config: Config,
        inherited: Vec<Inherited>,
        kernel: Arc<dyn Kernel>,
    ) -> Result<Self, StartError> {
        let attribution = Attribution::off("this kernel does not attribute exits", "");
        let opened = OpenedKernel { kernel, attribution, broker_end: None };
        Self::bind_parts(config, inherited, opened).await
    }

    async fn bind_parts(
        mut config: Config,
        inherited: Vec<Inherited>,
        OpenedKernel { kernel, attribution, broker_end }: OpenedKernel,
    ) -> Result<Self, StartError> {
        let always_watch = config.always_watch.as_deref();
        let always_watch = always_watch.map(|list| Cpumask::parse(list, kernel.possible_cpus()));
        let always_watch = always_watch.transpose().map_err(StartError::AlwaysWatch)?;
        let (stored, passed) = sort_inherited(inherited);
        let listeners = bind_listeners(&config, passed).await?;
        let certificates = load_certificates(&config)?;
        let mut node = Node::read(config.node_name.clone())?.running_on(&*kernel)?;
        node.attribution = attribution.report.clone();
        node.tls = certificates.as_ref().map(Reloader::tls);
        let handover = prepare_handover(&mut config, &node);
        if let Err(error) = notify::connect() {
            tracing::warn!(%error, "connecting to the service manager failed");
        }
        if config.enable_delay_accounting {
            enable_delay_accounting(&*kernel);
        }
        let handshakes = fit_to_fd_limit(&mut config, &*kernel, stored.len());
        let handshakes = handshakes.map_err(StartError::Descriptors)?;
        Ok(Self {
            listeners,
            certificates,
            kernel,
            broker_end,
            node,
            handover,
            stored,
            always_watch,
            attribution,
            handshakes,
            memory_limit: MemoryLimit::read(),
            config,
        })
    }
}

/// A kernel, and what belongs to it.
struct OpenedKernel {
    kernel: Arc<dyn Kernel>,
    attribution: Attribution,
    /// Reads as closed when the broker has ended, if there is one.
    broker_end: Option<OwnedFd>,
}

/// Opens the kernel that the configuration names, with a broker unless `--no-sandbox` is set, and
/// replaces the size of receive buffers in the configuration by the size that the kernel grants.
fn open_kernel(config: &mut Config) -> Result<OpenedKernel, StartError> {
    let receive_buffer = &mut config.reader.receive_buffer;
    match config.kernel {
        KernelChoice::Linux => {
            let mut kernel = LinuxKernel::new(*receive_buffer)?;
            if config.ignore_known_bad_kernel {
                kernel = kernel.ignoring_known_bugs();
            }
            let cpus = kernel.online_cpus()?;
            let mut attribution = Attribution::prepare(config.attribution, &cpus, *receive_buffer)?;
            if let Some(filters) = attribution.filters.take() {
                kernel = kernel.attributing(filters);
            }
            let mut broker_end = None;
            if let Sandbox::On(wanted) = &config.sandbox {
                let user = User::find(wanted.as_ref()).map_err(SandboxError::User)?;
                let confine = || {
                    let confined = sandbox::enter_broker(user, wanted.is_some());
                    confined.map_err(|error| error.to_string())
                };
                (kernel, broker_end) =
                    kernel.separate(confine).map(|(kernel, end)| (kernel, Some(end)))?;
            }
            Ok(OpenedKernel { kernel: Arc::new(kernel), attribution, broker_end })
        }
        #[cfg(feature = "sim")]
        KernelChoice::Sim(spec) => {
            let kernel = crate::sim::SimKernel::prepare(spec, *receive_buffer);
            *receive_buffer = spec.granted(*receive_buffer);
            let attribution = Attribution::off("the kernel is simulated", "");
            Ok(OpenedKernel { kernel: Arc::new(kernel), attribution, broker_end: None })
        }
    }
}

/// Returns the hand-over to the next run; removes `--state-dir` from the configuration where no service
/// manager keeps the sockets.
fn prepare_handover(config: &mut Config, node: &Node) -> Option<Handover> {
    if let Some(directory) = config.state_dir.take_if(|_| !notify::is_available()) {
        tracing::warn!(
            "disabled the hand-over to the next run, and left --state-dir {} unchanged: NOTIFY_SOCKET is not set, so no service manager keeps the sockets over a restart; run the agent as a unit with Type=notify and FileDescriptorStoreMax=, or remove the flag",
            directory.display()
        );
    }
    let directory = config.state_dir.as_ref()?;
    Some(Handover::new(directory, node.boot_id.clone(), config.history_bytes))
}

/// Separates the sockets that the previous run stored from those to listen on.
fn sort_inherited(inherited: Vec<Inherited>) -> (Vec<StoredDescriptor>, Vec<Inherited>) {
    let (mut stored, mut passed) = (Vec::new(), Vec::new());
    for inherited in inherited {
        match StoredDescriptor::try_from_inherited(inherited) {
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
        let trusted = trusted_users(config)?;
        for address in &config.listen {
            listeners.push(Listener::bind(address, &trusted).await?);
        }
        return Ok(listeners);
    }
    tracing::info!(
        sockets = passed.len(),
        "using sockets of the service manager instead of --listen"
    );
    for inherited in passed {
        let listener = Listener::adopt(inherited)?;
        config.check_plaintext(&listener.address()?)?;
        listeners.push(listener);
    }
    let addresses: Vec<_> = listeners.iter().map(Listener::address).collect::<Result<_, _>>()?;
    config.check_tls(addresses.iter())?;
    Ok(listeners)
}

/// Returns the user that the agent becomes, who may own the directories of its sockets.
fn trusted_users(config: &Config) -> Result<Vec<u32>, StartError> {
    match &config.sandbox {
        Sandbox::Off => Ok(Vec::new()),
        Sandbox::On(wanted) => {
            let user = User::find(wanted.as_ref()).map_err(SandboxError::User)?;
            Ok(vec![user.uid])
        }
    }
}

fn load_certificates(config: &Config) -> Result<Option<Reloader>, TlsError> {
    let tls = config.tls.as_ref();
    tls.map(|tls| Reloader::start(tls.files.clone(), tls.min_version)).transpose()
}
