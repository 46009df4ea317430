//! The connection to the agent, as the command line describes it.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::error::CommandError;
use super::render::time::parse_duration;
use crate::{Client, ClientBuilder, Error, Target};

/// The agent's address, and the credentials to connect with.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Connection")]
pub(crate) struct Connection {
    /// Address of the agent.
    #[arg(
        long,
        help = "Address of the agent: unix:///PATH, an absolute path, tls://HOST[:PORT], or tcp://HOST[:PORT] for plaintext; the default port is 8275",
        global = true,
        env = "TASKSTATS_TARGET",
        default_value = "unix:///run/taskstatsd/taskstatsd.sock"
    )]
    pub(crate) target: Target,

    /// PEM file of the CAs that the agent's certificate is verified by; required for tls://
    #[arg(long, global = true, value_name = "FILE", env = "TASKSTATS_CA")]
    ca: Option<PathBuf>,

    /// PEM file of the client certificate; needs --key
    #[arg(long, global = true, value_name = "FILE", env = "TASKSTATS_CERT")]
    cert: Option<PathBuf>,

    /// PEM file of the client certificate's private key; needs --cert
    #[arg(long, global = true, value_name = "FILE", env = "TASKSTATS_KEY")]
    key: Option<PathBuf>,

    /// Name that the agent's certificate must contain [default: the host of --target]
    #[arg(long, global = true, value_name = "NAME", env = "TASKSTATS_SERVER_NAME")]
    server_name: Option<String>,

    /// Maximum duration of connecting and of a call, with its unit
    #[arg(
        long,
        global = true,
        value_name = "DURATION",
        value_parser = parse_duration,
        default_value = "5s"
    )]
    pub(crate) timeout: Duration,
}

impl Connection {
    /// Verifies what no flag can verify alone.
    ///
    /// # Errors
    /// [`CommandError::Usage`] for a certificate without its key, or a key without its certificate.
    pub(crate) fn check(&self) -> Result<(), CommandError> {
        let missing = match (&self.cert, &self.key) {
            (Some(_), None) => "--cert needs --key",
            (None, Some(_)) => "--key needs --cert",
            (Some(_), Some(_)) | (None, None) => return Ok(()),
        };
        Err(CommandError::Usage(missing.to_owned()))
    }

    /// Connects to the agent, with the certificate files as they are now.
    pub(crate) async fn open(&self) -> Result<Client, Error> {
        let builder = Client::builder().connect_timeout(self.timeout).deadline(self.timeout);
        self.with_certificates(builder)?.connect(self.target.clone()).await
    }

    fn with_certificates(&self, mut builder: ClientBuilder) -> Result<ClientBuilder, Error> {
        if let Some(path) = &self.ca {
            builder = builder.ca_certificate(read("--ca", path)?);
        }
        if let (Some(certificate), Some(key)) = (&self.cert, &self.key) {
            builder = builder.identity(read("--cert", certificate)?, read("--key", key)?);
        }
        Ok(match &self.server_name {
            Some(name) => builder.server_name(name),
            None => builder,
        })
    }
}

fn read(flag: &str, path: &Path) -> Result<Vec<u8>, Error> {
    fs::read(path).map_err(|error| {
        let problem = format!("reading {flag} {} failed: {error}", path.display());
        Error::Tls { problem }
    })
}
