//! Certificates and files for the tests of this module.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use tempfile::TempDir;

use super::TlsFiles;

pub(super) const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// A root, an intermediate CA below it, and a server's certificate below that, in PEM.
pub(super) struct Chain {
    pub(super) root: String,
    pub(super) intermediate: String,
    pub(super) server: String,
    pub(super) key: String,
}

/// A directory with the files of a listener.
pub(super) struct Directory(TempDir);

impl Chain {
    /// Makes a chain whose intermediate expires at a time.
    pub(super) fn with_intermediate_until(until: SystemTime) -> Self {
        let (root_params, root_key) = (ca("root"), KeyPair::generate().unwrap());
        let root = root_params.self_signed(&root_key).unwrap().pem();
        let root_issuer = Issuer::new(root_params, root_key);
        let (mut ca_params, ca_key) = (ca("intermediate"), KeyPair::generate().unwrap());
        ca_params.not_before = (SystemTime::now() - DAY * 60).into();
        ca_params.not_after = until.into();
        let intermediate = ca_params.signed_by(&ca_key, &root_issuer).unwrap().pem();
        let issuer = Issuer::new(ca_params, ca_key);
        let key = KeyPair::generate().unwrap();
        let server = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let server = server.signed_by(&key, &issuer).unwrap().pem();
        Self { root, intermediate, server, key: key.serialize_pem() }
    }

    pub(super) fn valid() -> Self {
        Self::with_intermediate_until(SystemTime::now() + DAY * 60)
    }

    /// Returns the server's certificate and the intermediate, in the order that they must have.
    pub(super) fn certificates(&self) -> String {
        format!("{}{}", self.server, self.intermediate)
    }
}

fn ca(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params
}

impl Directory {
    pub(super) fn new(certificate: impl AsRef<[u8]>, key: impl AsRef<[u8]>) -> Self {
        let directory = Self(tempfile::tempdir().unwrap());
        directory.write("tls.crt", certificate);
        directory.write("tls.key", key);
        directory
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(super) fn write(&self, name: &str, contents: impl AsRef<[u8]>) {
        fs::write(self.path(name), contents).unwrap();
    }

    pub(super) fn files(&self) -> TlsFiles {
        TlsFiles::new(self.path("tls.crt"), self.path("tls.key"), None)
    }
}
