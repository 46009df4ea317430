//! From files to what handshakes need.

use std::hash::{BuildHasher, RandomState};
use std::str::FromStr;
use std::sync::Arc;
use std::time::SystemTime;

use rustls::crypto::{CryptoProvider, ring};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::version::{TLS12, TLS13};
use rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion};
use rustls_pki_types::pem::{self, PemObject};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::certificate::format_date;
use super::rejection::describe_pair_error;
use super::{CertificateInfo, CertificateUse, PemFile, TlsError, TlsFiles, Validity};

/// The protocol that is spoken inside. RFC 9113 has clients of HTTP/2 ask for it by name.
pub(super) const ALPN: &[u8] = b"h2";

const ALL_VERSIONS: &[&SupportedProtocolVersion] = &[&TLS13, &TLS12];
const NEWEST_VERSION: &[&SupportedProtocolVersion] = &[&TLS13];

/// The oldest version of TLS that is spoken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MinVersion {
    /// TLS 1.2 (RFC 5246).
    V1_2,
    /// TLS 1.3 (RFC 8446).
    #[default]
    V1_3,
}

/// The bytes of the files.
pub(super) struct FileContents {
    certificate: Vec<u8>,
    key: Vec<u8>,
    client_ca: Option<Vec<u8>>,
}

/// What handshakes need, and what can be told of it.
#[derive(Debug)]
pub(super) struct LoadedConfig {
    pub(super) server: Arc<ServerConfig>,
    pub(super) certificates: Vec<CertificateInfo>,
}

/// Reads the files as a listener would, and returns what their certificates say of themselves: the
/// server's first, then the clients' CAs. Whether they are valid now is for the caller to ask.
///
/// # Errors
/// Why a listener could not use them.
pub fn inspect(files: &TlsFiles) -> Result<Vec<CertificateInfo>, TlsError> {
    let material = LoadedConfig::build(files, &FileContents::read(files)?, MinVersion::default())?;
    Ok(material.certificates)
}

impl FileContents {
    pub(super) fn read(files: &TlsFiles) -> Result<Self, TlsError> {
        Ok(Self {
            certificate: files.certificate.read()?,
            key: files.key.read()?,
            client_ca: files.client_ca.as_ref().map(PemFile::read).transpose()?,
        })
    }

    /// A number by which other bytes are known, without keeping a second copy of the key.
    pub(super) fn fingerprint(&self, state: &RandomState) -> u64 {
        state.hash_one((&self.certificate, &self.key, &self.client_ca))
    }
}

impl LoadedConfig {
    /// Makes of the bytes what handshakes need.
    ///
    /// Sessions are not resumed: a client would be let in by what was verified when the session began,
    /// also after its certificate has expired or its CA was withdrawn. Connections last for hours, so
    /// that full handshakes cost nothing to speak of.
    pub(super) fn build(
        files: &TlsFiles,
        bytes: &FileContents,
        oldest: MinVersion,
    ) -> Result<Self, TlsError> {
        let chain = certificates(&files.certificate, &bytes.certificate)?;
        let mut info = vec![info(&files.certificate, &chain[0], CertificateUse::Server)?];
        let key = key(&files.key, &bytes.key)?;
        let provider = Arc::new(ring::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(oldest.versions())
            .map_err(TlsError::Protocol)?;
        let builder = match (&files.client_ca, &bytes.client_ca) {
            (Some(file), Some(bytes)) => {
                let authorities = certificates(file, bytes)?;
                for authority in &authorities {
                    info.push(self::info(file, authority, CertificateUse::ClientCa)?);
                }
                builder.with_client_cert_verifier(verifier(file, authorities, provider)?)
            }
            _ => builder.with_no_client_auth(),
        };
        let mut server = builder.with_single_cert(chain, key).map_err(|error| {
            let (certificate, key) = (files.certificate.clone(), files.key.clone());
            TlsError::Pair { certificate, key, reason: describe_pair_error(&error) }
        })?;
        server.alpn_protocols = vec![ALPN.to_vec()];
        server.session_storage = Arc::new(NoServerSessionStorage {});
        server.send_tls13_tickets = 0;
        Ok(Self { server: Arc::new(server), certificates: info })
    }

    /// Refuses a certificate that no client would accept now.
    pub(super) fn check_dates(&self, file: &PemFile, now: SystemTime) -> Result<(), TlsError> {
        let file = || file.clone();
        for info in self.servers() {
            match info.validity(now) {
                Validity::Valid | Validity::EndsSoon(_) => {}
                Validity::Expired => {
                    return Err(TlsError::Expired {
                        file: file(),
                        at: format_date(info.not_after),
                    });
                }
                Validity::NotYet => {
                    return Err(TlsError::NotYetValid {
                        file: file(),
                        from: format_date(info.not_before),
                    });
                }
            }
        }
        Ok(())
    }

    /// When the server's certificate becomes valid, if it is not.
    pub(super) fn valid_from(&self, now: SystemTime) -> Option<SystemTime> {
        self.servers().map(|info| info.not_before).find(|from| *from > now)
    }

    fn servers(&self) -> impl Iterator<Item = &CertificateInfo> {
        self.certificates.iter().filter(|info| info.purpose == CertificateUse::Server)
    }
}

impl MinVersion {
    fn versions(self) -> &'static [&'static SupportedProtocolVersion] {
        match self {
            Self::V1_2 => ALL_VERSIONS,
            Self::V1_3 => NEWEST_VERSION,
        }
    }
}

impl FromStr for MinVersion {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "1.2" => Ok(Self::V1_2),
            "1.3" => Ok(Self::V1_3),
            _ => Err("it is neither 1.2 nor 1.3"),
        }
    }
}

/// At least one certificate.
fn certificates(file: &PemFile, bytes: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found: Result<Vec<_>, pem::Error> = CertificateDer::pem_slice_iter(bytes).collect();
    let found = found.map_err(|source| TlsError::Pem { file: file.clone(), source })?;
    if found.is_empty() {
        return Err(TlsError::Missing { file: file.clone(), wanted: "CERTIFICATE" });
    }
    Ok(found)
}

fn key(file: &PemFile, bytes: &[u8]) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_slice(bytes).map_err(|error| match error {
        pem::Error::NoItemsFound => TlsError::Missing { file: file.clone(), wanted: "PRIVATE KEY" },
        source => TlsError::Pem { file: file.clone(), source },
    })
}

fn info(
    file: &PemFile,
    certificate: &CertificateDer<'_>,
    purpose: CertificateUse,
) -> Result<CertificateInfo, TlsError> {
    CertificateInfo::read(certificate, purpose)
        .map_err(|error| TlsError::Certificate { file: file.clone(), reason: error.to_string() })
}

/// Lets in who has a certificate of one of the authorities, and nobody else.
fn verifier(
    file: &PemFile,
    authorities: Vec<CertificateDer<'static>>,
    provider: Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let refused = |reason: String| TlsError::ClientCa { file: file.clone(), reason };
    let mut roots = RootCertStore::empty();
    for authority in authorities {
        roots.add(authority).map_err(|error| refused(error.to_string()))?;
    }
    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
        .build()
        .map_err(|error| refused(error.to_string()))
}
