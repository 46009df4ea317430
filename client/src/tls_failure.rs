//! Causes of a failed TLS handshake.

use std::error::Error as StdError;
use std::io;

use rustls::{AlertDescription, CertificateError, Error as RustlsError};

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

/// Faults that rustls has no name for, and passes on in these words of its library for certificates.
const NO_SERVER_CERTIFICATE: [&str; 2] = ["CaUsedAsEndEntity", OLD_VERSION];
pub(crate) const OLD_VERSION: &str = "UnsupportedCertVersion";
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
