//! Flags and variables, and the validated configuration that they become.

mod args;
mod attribution;
mod capture;
mod command;
mod compression;
mod error;
mod kernel;
mod limits;
mod policy;
mod range;
mod sandbox;
mod switch;
mod tls;

use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fs, io};

use bytesize::ByteSize;
use tonic::codec::CompressionEncoding;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::EnvFilter;

pub use self::args::Args;
pub(crate) use self::attribution::AttributionChoice;
pub(crate) use self::capture::CaptureArgs;
pub(crate) use self::command::{Command, DoctorArgs, ReportFormat};
pub(crate) use self::compression::Compression;
pub(crate) use self::error::ConfigError;
pub(crate) use self::kernel::KernelChoice;
pub(crate) use self::limits::LimitArgs;
pub(crate) use self::policy::PolicyArgs;
pub(crate) use self::sandbox::{Sandbox, SandboxArgs};
pub(crate) use self::tls::{TlsArgs, TlsConfig};

use self::range::check_range;
use crate::exits::ReaderConfig;
use crate::listen::ListenAddress;
use crate::security::{Limits, Policy, Redaction, Transport};
use crate::serve::ConnectionLimits;

/// The smallest history holds some chunks.
const MIN_HISTORY: ByteSize = ByteSize::kib(64);
/// The smallest receive buffer is about the kernel's own minimum.
const MIN_RECEIVE_BUFFER: ByteSize = ByteSize::kib(4);
/// The kernel doubles the size, and stores it in a signed 32-bit number.
const MAX_RECEIVE_BUFFER: ByteSize = ByteSize::mib(1023);
/// Every watcher would notice a longer time between drains.
const MAX_PACE: Duration = Duration::from_secs(1);
/// A longer grace period has the purpose of `--always-watch`.
const MAX_GRACE: Duration = Duration::from_secs(24 * 60 * 60);
/// A service manager kills the agent much earlier.
const MAX_DRAIN: Duration = Duration::from_secs(60 * 60);

/// A validated configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// The kernel to serve.
    pub(crate) kernel: KernelChoice,
    /// The addresses to listen on.
    pub listen: Vec<ListenAddress>,
    /// The method by which exits are attributed to cgroups.
    pub(crate) attribution: AttributionChoice,
    /// The configuration of the exit reader.
    pub(crate) reader: ReaderConfig,
    /// The memory for past exits in bytes.
    pub(crate) history_bytes: usize,
    /// The roles of clients.
    pub(crate) policy: Policy,
    /// The fields that are stripped for clients without the role details.
    pub(crate) redaction: Redaction,
    /// The limits of all clients together.
    pub(crate) limits: Limits,
    /// The limits of a connection.
    pub(crate) connection: ConnectionLimits,
    /// The encoding of responses to clients that accept it.
    pub(crate) compression: Option<CompressionEncoding>,
    /// The time for calls and streams to finish after SIGTERM.
    pub(crate) drain_timeout: Duration,
    /// The directory of the hand-over to the next run.
    pub(crate) state_dir: Option<PathBuf>,
    /// The CPUs that stay registered without watchers, as a CPU list.
    pub(crate) always_watch: Option<String>,
    /// Allows plaintext TCP.
    pub(crate) insecure: bool,
    /// The settings of TLS, for TCP listeners.
    pub(crate) tls: Option<TlsConfig>,
    /// Turns delay accounting on at the start.
    pub(crate) enable_delay_accounting: bool,
    /// Queries a kernel that is known to panic.
    pub(crate) ignore_known_bad_kernel: bool,
    /// Ends the agent if exits cannot be watched.
    pub(crate) fail_fast: bool,
    /// The name of this node, in place of the host name.
    pub(crate) node_name: Option<String>,
    /// The privileges that the agent drops.
    pub(crate) sandbox: Sandbox,
}

impl Config {
    /// Rejects a plaintext TCP listener unless `--insecure` is set.
    ///
    /// # Errors
    /// [`ConfigError::Plaintext`].
    pub(crate) fn check_plaintext(&self, address: &ListenAddress) -> Result<(), ConfigError> {
        check_plaintext(address, self.insecure || self.tls.is_some())
    }

    /// Rejects TLS that no listener uses, and TLS that would allow any client everything.
    ///
    /// # Errors
    /// [`ConfigError::UnusedTls`] or [`ConfigError::OpenTls`].
    pub(crate) fn check_tls<'a>(
        &self,
        mut listeners: impl Iterator<Item = &'a ListenAddress>,
    ) -> Result<(), ConfigError> {
        if self.tls.is_some() && !listeners.any(ListenAddress::is_tcp) {
            return Err(ConfigError::UnusedTls);
        }
        self.check_open_tls()
    }

    /// Rejects TLS that would allow any client everything, for any listeners.
    ///
    /// # Errors
    /// [`ConfigError::OpenTls`].
    pub(crate) fn check_open_tls(&self) -> Result<(), ConfigError> {
        match &self.tls {
            Some(tls) if tls.files.client_ca.is_none() && self.policy.allows_everything() => {
                Err(ConfigError::OpenTls)
            }
            _ => Ok(()),
        }
    }

    /// Returns the transport of each listener, by which clients are identified.
    #[must_use]
    pub(crate) fn transports<'a>(
        &self,
        listeners: impl IntoIterator<Item = &'a ListenAddress>,
    ) -> Vec<Transport> {
        let asks = self.tls.as_ref().is_some_and(|tls| tls.files.client_ca.is_some());
        let by_tcp = if asks { Transport::Certificate } else { Transport::Anonymous };
        let listeners = listeners.into_iter();
        listeners.map(|address| if address.is_tcp() { by_tcp } else { Transport::Unix }).collect()
    }
}

impl TryFrom<Args> for Config {
    type Error = ConfigError;

    fn try_from(args: Args) -> Result<Self, ConfigError> {
        let tls = args.tls.clone().check(args.insecure)?;
        check_listeners(&args.listen, args.insecure || tls.is_some())?;
        check_ranges(&args)?;
        check_log(&args.log)?;
        args.policy.check()?;
        args.limits.check()?;
        if let Some(directory) = &args.state_dir {
            check_state_dir(directory)?;
        }
        if args.state_dir.is_some() && args.kernel != KernelChoice::Linux {
            return Err(ConfigError::SimulatedState);
        }
        Ok(Self {
            kernel: args.kernel,
            attribution: args.attribution,
            listen: args.listen,
            reader: ReaderConfig {
                pace: args.pace,
                receive_buffer: bytes(args.receive_buffer),
                grace: args.grace_period,
            },
            history_bytes: bytes(args.history_bytes),
            policy: args.policy.policy(),
            redaction: args.policy.redaction(),
            limits: args.limits.limits(),
            connection: args.limits.connection(),
            compression: args.compression.encoding(),
            drain_timeout: args.drain_timeout,
            state_dir: args.state_dir,
            always_watch: args.always_watch,
            insecure: args.insecure,
            tls,
            enable_delay_accounting: args.enable_delay_accounting,
            ignore_known_bad_kernel: args.ignore_known_bad_kernel,
            fail_fast: args.fail_fast,
            node_name: args.node_name,
            sandbox: Sandbox::try_from(args.sandbox)?,
        })
    }
}

fn check_state_dir(directory: &Path) -> Result<(), ConfigError> {
    let path = directory.to_owned();
    match fs::metadata(directory) {
        Ok(metadata) if metadata.is_dir() => Ok(()),
        Ok(_) => Err(ConfigError::StateDirIsFile(path)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(ConfigError::NoStateDir(path)),
        Err(source) => Err(ConfigError::StateDir { path, source }),
    }
}

fn check_listeners(listen: &[ListenAddress], tcp_allowed: bool) -> Result<(), ConfigError> {
    for (index, address) in listen.iter().enumerate() {
        check_plaintext(address, tcp_allowed)?;
        // The kernel chooses another port for each port 0.
        if !address.is_any_port() && listen[..index].contains(address) {
            return Err(ConfigError::Twice(address.clone()));
        }
    }
    Ok(())
}

fn check_plaintext(address: &ListenAddress, tcp_allowed: bool) -> Result<(), ConfigError> {
    if address.is_tcp() && !tcp_allowed {
        return Err(ConfigError::Plaintext(address.clone()));
    }
    Ok(())
}

/// Rejects a filter that cannot be parsed, and a single word that is not a level. `EnvFilter` reads such a
/// word as the name of a module, and nothing would be logged.
fn check_log(filter: &str) -> Result<(), ConfigError> {
    let bare =
        |part: &&str| !part.contains(['=', ':', '[']) && part.parse::<LevelFilter>().is_err();
    let refused = |reason| Err(ConfigError::Log { filter: filter.to_owned(), reason });
    if let Some(part) = filter.split(',').map(str::trim).find(bare) {
        return refused(format!("`{part}` is not a level"));
    }
    EnvFilter::try_new(filter).map(drop).or_else(|error| refused(error.to_string()))
}

fn check_ranges(args: &Args) -> Result<(), ConfigError> {
    check_receive_buffer(args.receive_buffer)?;
    check_range("--history-bytes", args.history_bytes, MIN_HISTORY..)?;
    check_range("--pace", args.pace, Duration::ZERO..=MAX_PACE)?;
    check_range("--grace-period", args.grace_period, Duration::ZERO..=MAX_GRACE)?;
    check_range("--drain-timeout", args.drain_timeout, Duration::ZERO..=MAX_DRAIN)
}

fn check_receive_buffer(size: ByteSize) -> Result<(), ConfigError> {
    check_range("--receive-buffer", size, MIN_RECEIVE_BUFFER..=MAX_RECEIVE_BUFFER)
}

fn bytes(size: ByteSize) -> usize {
    usize::try_from(size.as_u64()).unwrap_or(usize::MAX)
}
