//! The files that TLS is made of.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::TlsError;

/// The largest file that is read. A bundle of all public CAs has a quarter of it.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// Where a listener's certificate, its key, and the CAs of its clients are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate, and those between it and its CA.
    pub certificate: PemFile,
    /// Its private key.
    pub key: PemFile,
    /// The CAs that sign the certificates of clients. With one, a client must have a certificate.
    pub client_ca: Option<PemFile>,
}

/// A PEM file, and the flag that names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PemFile {
    flag: &'static str,
    path: Arc<Path>,
}

impl TlsFiles {
    /// Takes the paths of the flags `--tls-cert`, `--tls-key` and `--client-ca`.
    #[must_use]
    pub fn new(certificate: PathBuf, key: PathBuf, client_ca: Option<PathBuf>) -> Self {
        Self {
            certificate: PemFile { flag: "--tls-cert", path: certificate.into() },
            key: PemFile { flag: "--tls-key", path: key.into() },
            client_ca: client_ca.map(|path| PemFile { flag: "--client-ca", path: path.into() }),
        }
    }

    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = &PemFile> {
        [&self.certificate, &self.key].into_iter().chain(&self.client_ca)
    }
}

impl PemFile {
    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads it whole.
    pub(super) fn read(&self) -> Result<Vec<u8>, TlsError> {
        let failed = |source| TlsError::Read { file: self.clone(), source };
        let file = File::open(&self.path).map_err(failed)?;
        let mut bytes = Vec::new();
        file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes).map_err(failed)?;
        if bytes.len() as u64 > MAX_FILE_BYTES {
            return Err(TlsError::TooLarge { file: self.clone(), limit: MAX_FILE_BYTES });
        }
        Ok(bytes)
    }
}

impl fmt::Display for PemFile {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {}", self.flag, self.path.display())
    }
}
