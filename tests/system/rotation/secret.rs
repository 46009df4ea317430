//! A directory of certificates as Kubernetes mounts a secret: links to links, of which one is
//! swapped.

use std::fs;
use std::os::unix::fs::symlink;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use taskstats_tests::certificates::Wanted;
use taskstats_tests::tls_fixture::TlsFixture;

/// The directory, and the CA of its certificates.
pub(super) struct Secret {
    pub(super) fixture: TlsFixture,
    edition: Arc<Edition>,
}

/// All certificates and since when they have existed, numbered from 1 on.
#[derive(Default)]
pub(super) struct Edition {
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    /// All certificates that were about to be installed.
    certificates: Vec<CertificateDer<'static>>,
    /// The newest certificate that the agent has reported to use.
    in_use: usize,
}

impl Secret {
    pub(super) fn new() -> Result<Self> {
        let mut secret = Self { fixture: TlsFixture::new()?, edition: Arc::default() };
        for name in ["tls.crt", "tls.key"] {
            symlink(format!("..data/{name}"), secret.fixture.files.path(name))?;
        }
        secret.swap()?;
        secret.edition.used();
        Ok(secret)
    }

    pub(super) fn edition(&self) -> Arc<Edition> {
        Arc::clone(&self.edition)
    }

    /// Returns the flags of the agent. Newcomers connect as fast as they can, all from one address.
    pub(super) fn flags(&self) -> Vec<String> {
        let path = |name: &str| self.fixture.files.argument(name);
        let (certificate, key, ca) = (path("tls.crt"), path("tls.key"), path("ca.crt"));
        let listen = ["--listen", "tcp://127.0.0.1:0", "--max-handshake-rate", "0"];
        let tls = ["--tls-cert", &certificate, "--tls-key", &key, "--client-ca", &ca];
        listen.iter().chain(&tls).map(|&word| word.to_owned()).collect()
    }

    /// Installs the next certificate, and returns the name that only it has.
    pub(super) fn swap(&mut self) -> Result<String> {
        let files = &self.fixture.files;
        let last = self.edition.newest();
        let (old, new) = (format!("..{last}"), format!("..{}", last + 1));
        let name = format!("number-{}.example", last + 1);
        let pair = self.fixture.authority.sign(&Wanted::for_agent().and_name(&name))?;
        // Before the agent can see it.
        self.edition.add(CertificateDer::from_pem_slice(pair.certificate.as_bytes())?);
        fs::create_dir(files.path(&new))?;
        fs::write(files.path(&new).join("tls.crt"), pair.certificate)?;
        fs::write(files.path(&new).join("tls.key"), pair.key)?;
        symlink(&new, files.path("..data_tmp"))?;
        fs::rename(files.path("..data_tmp"), files.path("..data"))?;
        if files.path(&old).exists() {
            fs::remove_dir_all(files.path(&old))?;
        }
        Ok(name)
    }
}

impl Edition {
    /// Returns the number of the newest certificate that the agent reports to use.
    pub(super) fn used(&self) {
        self.with(|known| known.in_use = known.certificates.len());
    }

    /// The number of the newest certificate that the agent surely uses, or has used.
    pub(super) fn in_use(&self) -> usize {
        self.with(|known| known.in_use)
    }

    /// The number of the newest certificate that the agent can have seen.
    pub(super) fn newest(&self) -> usize {
        self.with(|known| known.certificates.len())
    }

    /// The number of a certificate.
    pub(super) fn number(&self, certificate: &CertificateDer<'_>) -> Result<usize> {
        let place = self.with(|known| known.certificates.iter().rposition(|it| it == certificate));
        Ok(1 + place.context("a certificate that was never in the directory")?)
    }

    fn add(&self, certificate: CertificateDer<'static>) {
        self.with(|known| known.certificates.push(certificate));
    }

    fn with<T>(&self, use_it: impl FnOnce(&mut Known) -> T) -> T {
        use_it(&mut self.known.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
