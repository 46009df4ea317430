//! From the command line and the environment to a configuration that was checked.

mod args;
mod attribution;
mod capture;
mod command;
mod compression;
mod error;
mod kernel;
mod limits;
mod policy;
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
pub use self::attribution::AttributionChoice;
pub use self::capture::CaptureArgs;
pub use self::command::{Command, DoctorArgs, ReportFormat};
pub use self::compression::Compression;
pub use self::error::ConfigError;
pub use self::kernel::{KernelChoice, KernelChoiceError};
pub use self::limits::LimitArgs;
pub use self::policy::PolicyArgs;
pub use self::sandbox::{Sandbox, SandboxArgs};
pub use self::tls::{TlsArgs, TlsConfig};

use crate::exits::ReaderConfig;
use crate::listen::ListenAddress;
use crate::security::{Limits, Policy, Redaction, Transport};
use crate::serve::ConnectionLimits;

/// The least history: some chunks must fit.
const MIN_HISTORY: ByteSize = ByteSize::kib(64);
/// The least receive buffer: the kernel's own minimum is about this.
const MIN_RECEIVE_BUFFER: ByteSize = ByteSize::kib(4);
/// The most: the kernel counts in a signed 32-bit number and doubles it.
const MAX_RECEIVE_BUFFER: ByteSize = ByteSize::mib(1023);
/// Longer sleeps between drains would be felt by every watcher.
const MAX_PACE: Duration = Duration::from_secs(1);
/// The longest grace: beyond it, `--always-watch` is meant.
const MAX_GRACE: Duration = Duration::from_secs(24 * 60 * 60);
/// The longest drain: a service manager kills much earlier.
const MAX_DRAIN: Duration = Duration::from_secs(60 * 60);

/// A configuration that the agent can run with.
#[derive(Clone, Debug)]
pub struct Config {
    /// Which kernel is served.
    pub kernel: KernelChoice,
    /// Where to listen.
    pub listen: Vec<ListenAddress>,
    /// How exits are attributed to cgroups.
    pub attribution: AttributionChoice,
    /// How exits are taken.
    pub reader: ReaderConfig,
    /// Memory for past exits, bytes.
    pub history_bytes: usize,
    /// Who may do what.
    pub policy: Policy,
    /// What is stripped for those who may not see it.
    pub redaction: Redaction,
    /// How much callers may hold.
    pub limits: Limits,
    /// What one connection may do.
    pub connection: ConnectionLimits,
    /// The encoding of responses to clients that accept it.
    pub compression: Option<CompressionEncoding>,
    /// How long the end may take.
    pub drain_timeout: Duration,
    /// Where runs hand over to each other.
    pub state_dir: Option<PathBuf>,
    /// CPUs to listen to even while nobody watches, as they were given.
    pub always_watch: Option<String>,
    /// Whether plaintext TCP is allowed.
    pub insecure: bool,
    /// TLS for TCP listeners.
    pub tls: Option<TlsConfig>,
    /// Whether to have the kernel account delays.
    pub enable_delay_accounting: bool,
    /// Whether to ask a kernel that may panic.
    pub ignore_known_bad_kernel: bool,
    /// Whether to end where exits cannot be watched.
    pub fail_fast: bool,
    /// Overrides the host name.
    pub node_name: Option<String>,
    /// What is given up.
    pub sandbox: Sandbox,
}

impl Config {
    /// Refuses plaintext TCP unless it was allowed.
    ///
    /// # Errors
    /// [`ConfigError::Plaintext`].
    pub fn check_plaintext(&self, address: &ListenAddress) -> Result<(), ConfigError> {
        check_plaintext(address, self.insecure || self.tls.is_some())
    }

    /// Refuses TLS for which none of the listeners has a use, or that lets in everybody without a word
    /// of the operator's on it.
    ///
    /// # Errors
    /// [`ConfigError::UnusedTls`] or [`ConfigError::OpenTls`].
    pub fn check_tls<'a>(
        &self,
        mut listeners: impl Iterator<Item = &'a ListenAddress>,
    ) -> Result<(), ConfigError> {
        if self.tls.is_some() && !listeners.any(ListenAddress::is_tcp) {
            return Err(ConfigError::UnusedTls);
        }
        self.check_open_tls()
    }

    /// Refuses TLS that lets in everybody without a word of the operator's on it, by any listener.
    ///
    /// # Errors
    /// [`ConfigError::OpenTls`].
    pub fn check_open_tls(&self) -> Result<(), ConfigError> {
        match &self.tls {
            Some(tls) if tls.files.client_ca.is_none() && self.policy.allows_everything() => {
                Err(ConfigError::OpenTls)
            }
            _ => Ok(()),
        }
    }

    /// The ways in which callers come in by these listeners.
    #[must_use]
    pub fn transports<'a>(
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
        if let Some(folder) = &args.state_dir {
            check_state_dir(folder)?;
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

fn check_state_dir(folder: &Path) -> Result<(), ConfigError> {
    let path = folder.to_owned();
    match fs::metadata(folder) {
        Ok(metadata) if metadata.is_dir() => Ok(()),
        Ok(_) => Err(ConfigError::StateDirIsFile(path)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(ConfigError::NoStateDir(path)),
        Err(source) => Err(ConfigError::StateDir { path, source }),
    }
}

fn check_listeners(listen: &[ListenAddress], tcp_allowed: bool) -> Result<(), ConfigError> {
    for (index, address) in listen.iter().enumerate() {
        check_plaintext(address, tcp_allowed)?;
        // Port 0 is another port each time.
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

/// A bare word is taken for the name of a module, of which nothing would then be logged: it is a level
/// that was mistyped.
fn check_log(filter: &str) -> Result<(), ConfigError> {
    let bare =
        |part: &&str| !part.contains(['=', ':', '[']) && part.parse::<LevelFilter>().is_err();
    let refused = |reason| Err(ConfigError::Log { filter: filter.to_owned(), reason });
    if let Some(part) = filter.split(',').map(str::trim).find(bare) {
        return refused(format!("`{part}` is no level"));
    }
    EnvFilter::try_new(filter).map(drop).or_else(|error| refused(error.to_string()))
}

fn check_ranges(args: &Args) -> Result<(), ConfigError> {
    let out_of_range =
        |flag, value: String, range: String| Err(ConfigError::OutOfRange { flag, value, range });
    check_receive_buffer(args.receive_buffer)?;
    if args.history_bytes < MIN_HISTORY {
        let range = format!("{MIN_HISTORY} or more");
        return out_of_range("--history-bytes", args.history_bytes.to_string(), range);
    }
    for (flag, value, longest) in [
        ("--pace", args.pace, MAX_PACE),
        ("--grace-period", args.grace_period, MAX_GRACE),
        ("--drain-timeout", args.drain_timeout, MAX_DRAIN),
    ] {
        if value > longest {
            let range = format!("0s to {}", humantime::format_duration(longest));
            return out_of_range(flag, humantime::format_duration(value).to_string(), range);
        }
    }
    Ok(())
}

fn check_receive_buffer(size: ByteSize) -> Result<(), ConfigError> {
    if (MIN_RECEIVE_BUFFER..=MAX_RECEIVE_BUFFER).contains(&size) {
        return Ok(());
    }
    let range = format!("{MIN_RECEIVE_BUFFER} to {MAX_RECEIVE_BUFFER}");
    Err(ConfigError::OutOfRange { flag: "--receive-buffer", value: size.to_string(), range })
}

fn bytes(size: ByteSize) -> usize {
    usize::try_from(size.as_u64()).unwrap_or(usize::MAX)
}
