//! Certificates of a client, and what a failed handshake was about.

use std::error::Error as StdError;
use std::{fmt, io};

use rustls::{AlertDescription, CertificateError, Error as RustlsError};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint, Identity};

use crate::error::Error;
use crate::target::Target;

/// What a client trusts, and what it shows.
#[derive(Clone, Default)]
pub(crate) struct TlsSettings {
    pub(crate) ca: Option<Vec<u8>>,
    pub(crate) identity: Option<(Vec<u8>, Vec<u8>)>,
    pub(crate) server_name: Option<String>,
}

/// Why two sides did not come to terms, as far as TLS tells.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum TlsFailure {
    /// This side refuses: no CA that it was given signed the agent's certificate.
    UnknownAuthority,
    /// This side refuses: the agent's certificate has other names.
    WrongName,
    /// This side refuses: the agent's certificate has expired, or is not valid yet.
    NotValidNow,
    /// This side refuses: the agent's certificate is a CA's own, or one of X.509 version 1, or not for
    /// servers.
    NoServerCertificate,
    /// This side refuses the agent's certificate for another reason.
    CertificateRefused,
    /// The agent refuses: it wants a certificate.
    CertificateWanted,
    /// The agent refuses the certificate of this side.
    RefusedByAgent,
    /// The sides have no version of TLS in common.
    NoCommonVersion,
    /// What answers speaks no TLS.
    NoTls,
}

/// How it is said that nothing would be trusted.
pub(crate) const NEEDS_CA: &str = "needs a CA to know the agent by";

/// Faults that rustls has no name for, and passes on in these words of its library for certificates.
const NO_SERVER_CERTIFICATE: [&str; 2] = ["CaUsedAsEndEntity", OLD_VERSION];
const OLD_VERSION: &str = "UnsupportedCertVersion";
/// So does it say that a key belongs to another certificate.
const OTHER_KEY: &str = "KeyMismatch";

/// What a server says to a client whose certificate it does not take.
const KNOWN_ALERTS: [AlertDescription; 10] = [
    AlertDescription::CertificateRequired,
    AlertDescription::ProtocolVersion,
    AlertDescription::UnknownCA,
    AlertDescription::BadCertificate,
    AlertDescription::UnsupportedCertificate,
    AlertDescription::CertificateRevoked,
    AlertDescription::CertificateExpired,
    AlertDescription::CertificateUnknown,
    AlertDescription::AccessDenied,
    AlertDescription::DecryptError,
];

impl fmt::Debug for TlsSettings {
    /// Without the key.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("TlsSettings")
            .field("ca", &self.ca.is_some())
            .field("identity", &self.identity.is_some())
            .field("server_name", &self.server_name)
            .finish()
    }
}

impl TlsSettings {
    /// Adds to the endpoint of a target what makes it secure, if the target is to be so.
    pub(crate) fn apply(&self, target: &Target, endpoint: Endpoint) -> Result<Endpoint, Error> {
        let Target::Tls { host, .. } = target else {
            return match self.given() {
                None => Ok(endpoint),
                Some(what) => Err(problem(format!(
                    "{what} has no effect at {target}, which is not encrypted; use tls://HOST[:PORT]"
                ))),
            };
        };
        let Some(ca) = &self.ca else {
            return Err(problem(format!("{target} {NEEDS_CA}")));
        };
        count_certificates("the CA", ca)?;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let mut config = ClientTlsConfig::new()
            .ca_certificate(Certificate::from_pem(ca))
            .domain_name(self.server_name.as_deref().unwrap_or(host));
        if let Some((certificate, key)) = &self.identity {
            count_certificates("the client's certificate", certificate)?;
            config = config.identity(Identity::from_pem(certificate, key));
        }
        endpoint.tls_config(config).map_err(|error| problem(unusable(&deepest(&error))))
    }

    fn given(&self) -> Option<&'static str> {
        if self.ca.is_some() {
            Some("a CA")
        } else if self.identity.is_some() {
            Some("a client's certificate")
        } else {
            self.server_name.is_some().then_some("a server name")
        }
    }
}

/// What is wrong with what this side brings. rustls speaks of a peer's certificate even then.
fn unusable(said: &str) -> String {
    if said.contains(OLD_VERSION) {
        return format!(
            "the client's certificate is of X.509 version 1, as `openssl x509 -req` makes without extensions; \
             sign it with -copy_extensions copyall, or -extfile with a subjectAltName ({OLD_VERSION})"
        );
    }
    if said.contains(OTHER_KEY) {
        return format!("the client's key is not that of its certificate ({OTHER_KEY})");
    }
    said.to_owned()
}

fn problem(problem: String) -> Error {
    Error::Tls { problem }
}

/// Nothing would be trusted, or shown, without a word.
fn count_certificates(what: &str, pem: &[u8]) -> Result<(), Error> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match found {
        Ok(found) if found.is_empty() => Err(problem(format!("{what} is no PEM of certificates"))),
        Ok(_) => Ok(()),
        Err(error) => Err(problem(format!("{what} is not PEM: {error}"))),
    }
}

fn deepest(error: &(dyn StdError + 'static)) -> String {
    let mut deepest = error;
    while let Some(cause) = deepest.source() {
        deepest = cause;
    }
    deepest.to_string()
}

impl TlsFailure {
    /// Finds what was wrong among the causes of an error.
    pub(crate) fn among(error: &(dyn StdError + 'static)) -> Option<Self> {
        let mut deepest = error;
        loop {
            if let Some(tls) = rustls_error(deepest) {
                return Self::of(tls);
            }
            match deepest.source() {
                Some(cause) => deepest = cause,
                None => return Self::of_text(&deepest.to_string()),
            }
        }
    }

    /// In TLS 1.3 a server judges a client when that has finished its handshake and speaks HTTP/2, whose
    /// library keeps of an error nothing but the words.
    fn of_text(text: &str) -> Option<Self> {
        let alert = text.strip_prefix("received fatal alert: ")?;
        let known = KNOWN_ALERTS.into_iter().find(|known| format!("{known:?}") == alert);
        Self::of_alert(known?)
    }

    fn of(error: &RustlsError) -> Option<Self> {
        match error {
            RustlsError::InvalidCertificate(reason) => Some(Self::of_certificate(reason)),
            RustlsError::AlertReceived(alert) => Self::of_alert(*alert),
            RustlsError::InvalidMessage(_) => Some(Self::NoTls),
            RustlsError::PeerIncompatible(_) => Some(Self::NoCommonVersion),
            _ => None,
        }
    }

    fn of_certificate(reason: &CertificateError) -> Self {
        match reason {
            CertificateError::UnknownIssuer | CertificateError::BadSignature => {
                Self::UnknownAuthority
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                Self::WrongName
            }
            CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. } => Self::NotValidNow,
            CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
                Self::NoServerCertificate
            }
            CertificateError::Other(other)
                if NO_SERVER_CERTIFICATE.contains(&other.to_string().as_str()) =>
            {
                Self::NoServerCertificate
            }
            _ => Self::CertificateRefused,
        }
    }

    fn of_alert(alert: AlertDescription) -> Option<Self> {
        match alert {
            AlertDescription::CertificateRequired => Some(Self::CertificateWanted),
            AlertDescription::ProtocolVersion => Some(Self::NoCommonVersion),
            AlertDescription::UnknownCA
            | AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown
            | AlertDescription::AccessDenied
            | AlertDescription::DecryptError => Some(Self::RefusedByAgent),
            _ => None,
        }
    }
}

/// An I/O error hides what it is made of from those who ask for its source.
fn rustls_error<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a RustlsError> {
    error.downcast_ref().or_else(|| rustls_error(error.downcast_ref::<io::Error>()?.get_ref()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NO_CERTIFICATE: &[u8] = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";

    fn applied(settings: &TlsSettings, target: &str) -> Result<(), String> {
        let target: Target = target.parse().unwrap();
        let endpoint = target.endpoint().unwrap();
        settings.apply(&target, endpoint).map(drop).map_err(|error| error.to_string())
    }

    #[test]
    fn settings_that_would_be_ignored_are_refused() {
        let ca = TlsSettings { ca: Some(NO_CERTIFICATE.to_vec()), ..TlsSettings::default() };
        let name = TlsSettings { server_name: Some("a".to_owned()), ..TlsSettings::default() };
        for target in ["/run/a.sock", "tcp://node7"] {
            assert!(applied(&ca, target).unwrap_err().contains("no effect"));
            assert!(applied(&name, target).unwrap_err().contains("no effect"));
            assert_eq!(applied(&TlsSettings::default(), target), Ok(()));
        }
    }

    #[test]
    fn nobody_is_trusted_without_a_ca() {
        let said = applied(&TlsSettings::default(), "tls://node7").unwrap_err();
        assert!(said.contains("needs a CA"), "{said}");
        let empty = TlsSettings { ca: Some(b"not PEM".to_vec()), ..TlsSettings::default() };
        let said = applied(&empty, "tls://node7").unwrap_err();
        assert!(said.contains("no PEM of certificates"), "{said}");
    }

    #[test]
    fn the_key_is_not_shown() {
        let identity = Some((Vec::new(), b"secret".to_vec()));
        let shown = format!("{:?}", TlsSettings { identity, ..TlsSettings::default() });
        assert_eq!(shown, "TlsSettings { ca: false, identity: true, server_name: None }");
    }

    #[test]
    fn the_side_that_refuses_is_found_in_the_causes() {
        let wrap = |error| io::Error::other(io::Error::new(io::ErrorKind::InvalidData, error));
        let alert = |alert| TlsFailure::among(&wrap(RustlsError::AlertReceived(alert)));
        assert_eq!(
            alert(AlertDescription::CertificateRequired),
            Some(TlsFailure::CertificateWanted)
        );
        assert_eq!(alert(AlertDescription::UnknownCA), Some(TlsFailure::RefusedByAgent));
        assert_eq!(alert(AlertDescription::InternalError), None);
        let certificate =
            |reason| TlsFailure::among(&wrap(RustlsError::InvalidCertificate(reason)));
        assert_eq!(certificate(CertificateError::Expired), Some(TlsFailure::NotValidNow));
        assert_eq!(certificate(CertificateError::NotValidForName), Some(TlsFailure::WrongName));
        assert_eq!(TlsFailure::among(&io::Error::other("else")), None);
        let words = RustlsError::AlertReceived(AlertDescription::CertificateExpired).to_string();
        let words_alone = io::Error::other(words);
        assert_eq!(TlsFailure::among(&words_alone), Some(TlsFailure::RefusedByAgent));
    }
}
