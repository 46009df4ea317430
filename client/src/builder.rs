//! The connection to an agent.

use std::time::Duration;

use crate::client::Client;
use crate::error::Error;
use crate::target::Target;
use crate::tls::TlsSettings;

/// The deadline of a unary call, unless [`ClientBuilder::deadline`] sets another: an agent responds
/// within milliseconds.
pub const DEFAULT_DEADLINE: Duration = Duration::from_secs(5);

/// The maximum duration of connecting, unless [`ClientBuilder::connect_timeout`] sets another.
pub const DEFAULT_CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// The longest deadline: the value of the header `grpc-timeout` has at most eight digits.
const MAX_DEADLINE: Duration = Duration::from_secs(24 * 60 * 60);

/// The interval of keep-alive probes on a quiet TCP connection, which detect that the agent's node
/// is gone. It is twice the interval of the stream's heartbeats.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(20);

/// Settings of a [`Client`] before it connects.
///
/// ```no_run
/// use std::time::Duration;
/// use taskstats_client::Client;
///
/// # async fn example() -> Result<(), taskstats_client::Error> {
/// let target = "unix:///run/taskstatsd/taskstatsd.sock".parse()?;
/// let client = Client::builder().deadline(Duration::from_millis(200)).connect(target).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct ClientBuilder {
    connect_timeout: Duration,
    deadline: Duration,
    tls: TlsSettings,
}

impl Client {
    /// Connects to the agent at `target`, in one of the forms of [`Target`], with default settings.
    ///
    /// # Errors
    /// - [`Error::InvalidTarget`] for a text that is not a target.
    /// - [`Error::Unreachable`] when no agent accepts the connection in time.
    /// - [`Error::Tls`] for a TLS target, which needs [`ClientBuilder::ca_certificate`].
    ///
    /// ```no_run
    /// use taskstats_client::Client;
    ///
    /// # async fn example() -> Result<(), taskstats_client::Error> {
    /// let client = Client::connect("unix:///run/taskstatsd/taskstatsd.sock").await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn connect(target: &str) -> Result<Self, Error> {
        Self::builder().connect(target.parse()?).await
    }

    /// Returns the default settings, to change and to connect with.
    ///
    /// ```
    /// use std::time::Duration;
    /// use taskstats_client::Client;
    ///
    /// let builder = Client::builder().deadline(Duration::from_millis(200));
    /// ```
    pub fn builder() -> ClientBuilder {
        ClientBuilder {
            connect_timeout: DEFAULT_CONNECT_TIMEOUT,
            deadline: DEFAULT_DEADLINE,
            tls: TlsSettings::default(),
        }
    }
}

impl ClientBuilder {
    /// Sets the maximum duration of connecting.
    ///
    /// ```
    /// use std::time::Duration;
    /// use taskstats_client::Client;
    ///
    /// let builder = Client::builder().connect_timeout(Duration::from_secs(1));
    /// ```
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// Sets the deadline of unary calls and of the opening of streams, at most a day.
    ///
    /// The agent receives the deadline with each call.
    ///
    /// ```
    /// use std::time::Duration;
    /// use taskstats_client::Client;
    ///
    /// let builder = Client::builder().deadline(Duration::from_millis(200));
    /// ```
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline.min(MAX_DEADLINE);
        self
    }

    /// Sets the CAs to verify the agent's certificate by, in PEM.
    ///
    /// A [`Target::Tls`] needs them: the CAs of the operating system are not used.
    ///
    /// ```no_run
    /// use taskstats_client::Client;
    ///
    /// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
    /// let client = Client::builder()
    ///     .ca_certificate(std::fs::read("ca.crt")?)
    ///     .identity(std::fs::read("collector.crt")?, std::fs::read("collector.key")?)
    ///     .connect("tls://node7".parse()?)
    ///     .await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn ca_certificate(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.tls.ca = Some(pem.into());
        self
    }

    /// Sets the client certificate and its private key, both in PEM.
    ///
    /// ```no_run
    /// use taskstats_client::Client;
    ///
    /// # fn example() -> std::io::Result<()> {
    /// let (certificate, key) = (std::fs::read("collector.crt")?, std::fs::read("collector.key")?);
    /// let builder = Client::builder().identity(certificate, key);
    /// # Ok(())
    /// # }
    /// ```
    pub fn identity(mut self, certificate: impl Into<Vec<u8>>, key: impl Into<Vec<u8>>) -> Self {
        self.tls.identity = Some((certificate.into(), key.into()));
        self
    }

    /// Sets the name that the agent's certificate must contain, instead of the target's host.
    ///
    /// ```
    /// use taskstats_client::Client;
    ///
    /// let builder = Client::builder().server_name("taskstatsd");
    /// ```
    pub fn server_name(mut self, name: impl Into<String>) -> Self {
        self.tls.server_name = Some(name.into());
        self
    }

    /// Connects to the agent at `target`.
    ///
    /// # Errors
    /// - [`Error::Unreachable`] when no agent accepts the connection in time, or one side refuses the
    ///   certificate of the other.
    /// - [`Error::InvalidTarget`] for a host that is not valid in a URI.
    /// - [`Error::Tls`] for certificates that are missing, cannot be used, or are set for a target
    ///   without TLS.
    ///
    /// ```no_run
    /// use taskstats_client::Client;
    ///
    /// # async fn example() -> Result<(), taskstats_client::Error> {
    /// let client = Client::builder().connect("tcp://node7".parse()?).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn connect(self, target: Target) -> Result<Client, Error> {
        let endpoint = target.endpoint()?.connect_timeout(self.connect_timeout);
        let mut endpoint = self.tls.apply(&target, endpoint)?;
        if !matches!(target, Target::Unix { .. }) {
            endpoint =
                endpoint.http2_keep_alive_interval(KEEP_ALIVE_INTERVAL).keep_alive_while_idle(true);
        }
        match endpoint.connect().await {
            Ok(channel) => Ok(Client::new(channel, target, self.deadline)),
            Err(error) => Err(Error::Unreachable { target, source: Box::new(error) }),
        }
    }
}
