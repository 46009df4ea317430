//! The connection to the agent, as the command line describes it.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::render::time::parse_duration;
use crate::{Client, ClientBuilder, Error, Target};

/// The agent's address, and the conditions of a connection to it.
#[derive(Debug, clap::Args)]
pub(crate) struct Connection {
    /// The agent.
    #[arg(
        long,
        help = "The agent: unix:///PATH, an absolute path, tls://HOST[:PORT], or tcp://HOST[:PORT] (port 8275; plaintext)",
        global = true,
        env = "TASKSTATS_TARGET",
        default_value = "unix:///run/taskstatsd/taskstatsd.sock"
    )]
    pub(crate) target: Target,

    #[command(flatten)]
    tls: TlsFlags,

    /// How long a call may take, with its unit
    #[arg(long, global = true, value_parser = parse_duration, default_value = "5s")]
    pub(crate) timeout: Duration,
}

/// Files that a `tls://` target is reached with.
#[derive(Debug, clap::Args)]
struct TlsFlags {
    /// CAs of the agent's certificate, in PEM; a tls:// target needs it
    #[arg(long, global = true, value_name = "FILE", env = "TASKSTATS_CA")]
    ca: Option<PathBuf>,

    /// Certificate to show to the agent, in PEM
    #[arg(long, global = true, value_name = "FILE", env = "TASKSTATS_CERT", requires = "key")]
    cert: Option<PathBuf>,

    /// Private key of the certificate, in PEM
    #[arg(long, global = true, value_name = "FILE", env = "TASKSTATS_KEY", requires = "cert")]
    key: Option<PathBuf>,

    /// Name that the agent's certificate must have [default: the target's host]
    #[arg(long, global = true, value_name = "NAME", env = "TASKSTATS_SERVER_NAME")]
    server_name: Option<String>,
}

impl Connection {
    /// Connects to the agent; reads the certificate files anew.
    pub(crate) async fn open(&self) -> Result<Client, Error> {
        let builder = Client::builder().connect_timeout(self.timeout).deadline(self.timeout);
        self.tls.apply(builder)?.connect(self.target.clone()).await
    }
}

impl TlsFlags {
    /// Reads the files into the settings of a client.
    fn apply(&self, mut builder: ClientBuilder) -> Result<ClientBuilder, Error> {
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
