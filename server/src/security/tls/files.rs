//! The files that certificates and keys are read from.

use std::fmt;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{ExposedKey, TlsError};
use crate::regular_file;

/// The largest file that is read. A bundle of all public CAs has a quarter of it.
const MAX_FILE_BYTES: u64 = 1 << 20;
/// The bit of a mode by which every user may read, and the one by which every user may write.
const OTHERS_READ: u32 = 0o004;
const OTHERS_WRITE: u32 = 0o002;
/// The bits of a mode that `chmod` sets.
const PERMISSIONS: u32 = 0o7777;

/// The paths of a listener's certificate, of its key, and of the CAs of its clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TlsFiles {
    /// The certificate, and after it those between it and its CA.
    pub(crate) certificate: PemFile,
    /// The private key of the certificate.
    pub(crate) key: PemFile,
    /// The CAs that sign the certificates of clients. With one, each client needs a certificate.
    pub(crate) client_ca: Option<PemFile>,
}

/// A PEM file, and the flag that names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PemFile {
    flag: &'static str,
    role: FileRole,
    path: Arc<Path>,
}

/// The kind of sections that are read from a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FileRole {
    Certificates,
    Key,
}

impl TlsFiles {
    /// Returns the files at the paths of `--tls-cert`, `--tls-key` and `--client-ca`.
    #[must_use]
    pub(crate) fn new(certificate: PathBuf, key: PathBuf, client_ca: Option<PathBuf>) -> Self {
        let file = |flag, role, path: PathBuf| PemFile { flag, role, path: path.into() };
        Self {
            certificate: file("--tls-cert", FileRole::Certificates, certificate),
            key: file("--tls-key", FileRole::Key, key),
            client_ca: client_ca.map(|path| file("--client-ca", FileRole::Certificates, path)),
        }
    }

    /// Returns each file.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &PemFile> {
        [&self.certificate, &self.key].into_iter().chain(&self.client_ca)
    }
}

impl PemFile {
    /// Returns the path.
    #[must_use]
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) const fn role(&self) -> FileRole {
        self.role
    }

    /// Reads the whole file, and returns the permissions of its mode too.
    pub(super) fn read(&self) -> Result<(Vec<u8>, u32), TlsError> {
        let failed = |source| TlsError::Read { file: self.clone(), source };
        let (file, metadata) = regular_file::open_to_read(&self.path).map_err(failed)?;
        let mut bytes = Vec::new();
        file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes).map_err(failed)?;
        if bytes.len() as u64 > MAX_FILE_BYTES {
            return Err(TlsError::TooLarge { file: self.clone(), limit: MAX_FILE_BYTES });
        }
        Ok((bytes, metadata.mode() & PERMISSIONS))
    }

    /// Refuses a key that every user may replace, and returns a warning of one that every user may
    /// read.
    pub(super) fn check_mode(&self, mode: u32) -> Result<Option<ExposedKey>, TlsError> {
        if mode & OTHERS_WRITE != 0 {
            return Err(TlsError::WritableKey { file: self.clone(), mode });
        }
        let is_exposed = mode & OTHERS_READ != 0;
        Ok(is_exposed.then(|| ExposedKey { file: self.clone(), mode }))
    }
}

impl fmt::Display for PemFile {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {}", self.flag, self.path.display())
    }
}
