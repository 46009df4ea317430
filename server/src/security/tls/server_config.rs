//! Builds what handshakes need from the contents of the files.

use std::hash::{BuildHasher, RandomState};
use std::iter;
use std::str::FromStr;
use std::sync::Arc;
use std::time::SystemTime;

use rustls::crypto::{CryptoProvider, ring};
use rustls::server::NoServerSessionStorage;
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};
use rustls::{ServerConfig, SupportedProtocolVersion};
use rustls_pki_types::pem::{self, PemObject};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::certificate::format_date;
use super::client_verifier::verifier;
use super::pem_mistake::{PemMistake, is_encrypted};
use super::rejection::describe_pair_error;
use super::{CertificateInfo, CertificateUse, ExposedKey, PemFile, TlsError, TlsFiles, Validity};

/// The protocol inside of TLS, by which clients of HTTP/2 request it (RFC 9113, 3.2).
pub(super) const ALPN: &[u8] = b"h2";

const ALL_VERSIONS: &[&SupportedProtocolVersion] = &[&TLS13, &TLS12];
const NEWEST_VERSION: &[&SupportedProtocolVersion] = &[&TLS13];

/// The oldest version of TLS that is accepted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum MinVersion {
    /// TLS 1.2 (RFC 5246).
    V1_2,
    /// TLS 1.3 (RFC 8446).
    #[default]
    V1_3,
}

/// The contents of the files.
pub(super) struct FileContents {
    certificate: Vec<u8>,
    key: Vec<u8>,
    client_ca: Option<Vec<u8>>,
    exposed_key: Option<ExposedKey>,
}

/// The configuration of handshakes, and what is known of its certificates.
#[derive(Debug)]
pub(super) struct LoadedConfig {
    pub(super) server: Arc<ServerConfig>,
    /// The server's, then its intermediates, then the clients' CAs.
    pub(super) certificates: Vec<CertificateInfo>,
    pub(super) exposed_key: Option<ExposedKey>,
}

/// The contents of the files, as far as they can be reported.
#[derive(Debug)]
pub(crate) struct Inspection {
    /// The server's certificate, then its intermediates, then the clients' CAs.
    pub(crate) certificates: Vec<CertificateInfo>,
    /// Set if every user of the node can read the key.
    pub(crate) exposed_key: Option<ExposedKey>,
}

/// Reads the files as a listener would, and returns what they contain. The dates are not checked.
///
/// # Errors
/// Why a listener could not use them.
pub(crate) fn inspect(files: &TlsFiles) -> Result<Inspection, TlsError> {
    let contents = FileContents::read(files)?;
    let config = LoadedConfig::build(files, &contents, MinVersion::default())?;
    Ok(Inspection { certificates: config.certificates, exposed_key: config.exposed_key })
}

impl FileContents {
    pub(super) fn read(files: &TlsFiles) -> Result<Self, TlsError> {
        let (certificate, _) = files.certificate.read()?;
        let (key, mode) = files.key.read()?;
        let exposed_key = files.key.check_mode(mode)?;
        let client_ca = files.client_ca.as_ref().map(PemFile::read).transpose()?;
        Ok(Self { certificate, key, client_ca: client_ca.map(|(bytes, _)| bytes), exposed_key })
    }

    /// Returns a number by which other contents are recognized, without a second copy of the key in
    /// memory.
    pub(super) fn fingerprint(&self, state: &RandomState) -> u64 {
        state.hash_one((&self.certificate, &self.key, &self.client_ca))
    }
}

impl LoadedConfig {
    /// Builds what handshakes need.
    ///
    /// Sessions are not resumed: a client would be accepted by what was verified when the session
    /// began, also after its certificate expired or its CA was removed. Connections last for hours, so
    /// the cost of full handshakes does not matter.
    pub(super) fn build(
        files: &TlsFiles,
        contents: &FileContents,
        oldest: MinVersion,
    ) -> Result<Self, TlsError> {
        let chain = certificates(&files.certificate, &contents.certificate)?;
        let mut infos = chain_infos(&files.certificate, &chain)?;
        let key = key(&files.key, &contents.key)?;
        let provider = Arc::new(ring::default_provider());
        check_pair(files, &chain, &key, &provider)?;
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(oldest.versions())
            .map_err(TlsError::Protocol)?;
        let builder = match (&files.client_ca, &contents.client_ca) {
            (Some(file), Some(bytes)) => {
                let authorities = certificates(file, bytes)?;
                for authority in &authorities {
                    infos.push(info(file, authority, None, CertificateUse::ClientCa)?);
                }
                builder.with_client_cert_verifier(verifier(file, authorities, provider)?)
            }
            _ => builder.with_no_client_auth(),
        };
        let mut server =
            builder.with_single_cert(chain, key).map_err(|error| pair_error(files, &error))?;
        server.alpn_protocols = vec![ALPN.to_vec()];
        server.session_storage = Arc::new(NoServerSessionStorage {});
        server.send_tls13_tickets = 0;
        Ok(Self {
            server: Arc::new(server),
            certificates: infos,
            exposed_key: contents.exposed_key.clone(),
        })
    }

    /// Refuses a server's certificate that no client would accept now.
    ///
    /// The dates of intermediates are warned about and no more: a client may know another way to its CA.
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

    /// Returns when the server's certificate becomes valid, if it is not yet.
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

/// Returns the certificates of a file, at least one.
fn certificates(file: &PemFile, bytes: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    check_format(file, bytes)?;
    let found: Result<Vec<_>, pem::Error> = CertificateDer::pem_slice_iter(bytes).collect();
    let found = found.map_err(|source| TlsError::Pem { file: file.clone(), source })?;
    if found.is_empty() {
        return Err(missing(file, bytes, "CERTIFICATE"));
    }
    Ok(found)
}

fn key(file: &PemFile, bytes: &[u8]) -> Result<PrivateKeyDer<'static>, TlsError> {
    check_format(file, bytes)?;
    // The header of an encrypted key is ignored below, and its bytes would seem to be malformed.
    if is_encrypted(&String::from_utf8_lossy(bytes)) {
        return Err(TlsError::Mistake { file: file.clone(), mistake: PemMistake::EncryptedKey });
    }
    PrivateKeyDer::from_pem_slice(bytes).map_err(|error| match error {
        pem::Error::NoItemsFound => missing(file, bytes, "PRIVATE KEY"),
        source => TlsError::Pem { file: file.clone(), source },
    })
}

fn check_format(file: &PemFile, bytes: &[u8]) -> Result<(), TlsError> {
    match PemMistake::of_format(bytes) {
        None => Ok(()),
        Some(mistake) => Err(TlsError::Mistake { file: file.clone(), mistake }),
    }
}

fn missing(file: &PemFile, bytes: &[u8], wanted: &'static str) -> TlsError {
    let file = file.clone();
    match PemMistake::of_sections(bytes, file.role()) {
        Some(mistake) => TlsError::Mistake { file, mistake },
        None => TlsError::Missing { file, wanted },
    }
}

/// Refuses a chain that does not begin with the certificate of the key.
fn check_pair(
    files: &TlsFiles,
    chain: &[CertificateDer<'static>],
    key: &PrivateKeyDer<'static>,
    provider: &CryptoProvider,
) -> Result<(), TlsError> {
    let loaded = provider.key_provider.load_private_key(key.clone_key());
    let loaded = loaded.map_err(|error| pair_error(files, &error))?;
    let has_key = |certificate: &CertificateDer<'static>| {
        CertifiedKey::new(vec![certificate.clone()], Arc::clone(&loaded)).keys_match().is_ok()
    };
    match chain.iter().position(has_key) {
        // What belongs to none is refused by rustls, with its reason.
        Some(0) | None => Ok(()),
        Some(index) => {
            let (file, key) = (files.certificate.clone(), files.key.clone());
            Err(TlsError::Order { file, key, position: index + 1 })
        }
    }
}

fn pair_error(files: &TlsFiles, error: &rustls::Error) -> TlsError {
    let (certificate, key) = (files.certificate.clone(), files.key.clone());
    TlsError::Pair { certificate, key, reason: describe_pair_error(error) }
}

/// Returns what the certificates of a server's chain state, each of which has dates of its own.
fn chain_infos(
    file: &PemFile,
    chain: &[CertificateDer<'static>],
) -> Result<Vec<CertificateInfo>, TlsError> {
    let uses = iter::once(CertificateUse::Server).chain(iter::repeat(CertificateUse::Intermediate));
    let each = chain.iter().enumerate().zip(uses);
    each.map(|((index, der), purpose)| info(file, der, chain.get(index + 1), purpose)).collect()
}

fn info(
    file: &PemFile,
    certificate: &CertificateDer<'_>,
    next: Option<&CertificateDer<'_>>,
    purpose: CertificateUse,
) -> Result<CertificateInfo, TlsError> {
    CertificateInfo::read(certificate, next, purpose)
        .map_err(|error| TlsError::Certificate { file: file.clone(), reason: error.to_string() })
}

#[cfg(test)]
mod tests;
