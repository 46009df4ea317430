//! Certificates on the command line.

use std::fs;
use std::path::{Path, PathBuf};

use crate::{ClientBuilder, Error};

/// Files that a `tls://` target is reached with.
#[derive(Debug, clap::Args)]
pub(super) struct TlsFlags {
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

impl TlsFlags {
    /// Reads the files into the settings of a client.
    pub(super) fn apply(&self, mut builder: ClientBuilder) -> Result<ClientBuilder, Error> {
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
