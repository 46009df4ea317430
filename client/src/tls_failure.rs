//! Causes of a failed TLS handshake.

use std::error::Error as StdError;
use std::io;

use rustls::{AlertDescription, CertificateError, Error as RustlsError};

/// The cause of a failed TLS handshake, from [`Error::tls_failure`](crate::Error::tls_failure).
///
/// ```
/// use taskstats_client::{Error, TlsFailure};
///
/// fn needs_certificate(error: &Error) -> bool {
///     error.tls_failure() == Some(TlsFailure::CertificateRequired)
/// }
/// ```
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum TlsFailure {
    /// The client refuses: none of its CAs signed the agent's certificate.
    UnknownAuthority,
    /// The client refuses: the agent's certificate has other names.
    WrongName,
    /// The client refuses: the agent's certificate has expired, or is not valid yet.
    NotValidNow,
    /// The client refuses: the agent's certificate is a CA's own, or of X.509 version 1, or not for
    /// servers.
    NoServerCertificate,
    /// The client refuses the agent's certificate for another reason.
    CertificateRefused,
    /// The agent refuses: it requires a client certificate.
    CertificateRequired,
    /// The agent refuses the client certificate.
    RefusedByAgent,
    /// Client and agent have no version of TLS in common.
    NoCommonVersion,
    /// The server does not use TLS.
    NotTls,
}

/// Errors of webpki that rustls has no variant for, as their texts.
const NO_SERVER_CERTIFICATE: [&str; 2] = ["CaUsedAsEndEntity", OLD_VERSION];
pub(crate) const OLD_VERSION: &str = "UnsupportedCertVersion";
/// The alerts of a server that refuses a client's certificate.
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

impl TlsFailure {
    /// Finds the TLS failure among the causes of an error.
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

    /// Parses the text of an error that HTTP/2 kept.
    ///
    /// In TLS 1.3 a server verifies a client after the client's side of the handshake is complete. The
    /// alert then reaches HTTP/2, and h2 keeps the text of an I/O error alone.
    fn of_text(text: &str) -> Option<Self> {
        let alert = text.strip_prefix("received fatal alert: ")?;
        let known = KNOWN_ALERTS.into_iter().find(|known| format!("{known:?}") == alert);
        Self::of_alert(known?)
    }

    fn of(error: &RustlsError) -> Option<Self> {
        match error {
            RustlsError::InvalidCertificate(reason) => Some(Self::of_certificate(reason)),
            RustlsError::AlertReceived(alert) => Self::of_alert(*alert),
            RustlsError::InvalidMessage(_) => Some(Self::NotTls),
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
            AlertDescription::CertificateRequired => Some(Self::CertificateRequired),
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

/// Returns the error of rustls inside an error; an I/O error does not return its content as source.
fn rustls_error<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a RustlsError> {
    error.downcast_ref().or_else(|| rustls_error(error.downcast_ref::<io::Error>()?.get_ref()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_side_that_refused_is_found_in_the_causes() {
        let wrap = |error| io::Error::other(io::Error::new(io::ErrorKind::InvalidData, error));
        let alert = |alert| TlsFailure::among(&wrap(RustlsError::AlertReceived(alert)));
        assert_eq!(
            alert(AlertDescription::CertificateRequired),
            Some(TlsFailure::CertificateRequired)
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
