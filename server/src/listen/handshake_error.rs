//! Errors of handshakes, and their throttled log lines.

use std::io;
use std::time::{Duration, Instant};

use rustls::{AlertDescription, Error as RustlsError};
use tokio::task::JoinError;

use crate::security::tls::describe_client_error;
use crate::telemetry::Throttle;

/// The time between two log lines of one kind: any client that reaches the port can make handshakes
/// fail.
const INTERVAL: Duration = Duration::from_secs(10);

/// An error of a handshake.
#[derive(Debug, thiserror::Error)]
pub(super) enum HandshakeError {
    /// The client sent no certificate.
    #[error("the client sent no certificate, which --client-ca requires")]
    NoCertificate,
    /// The client's certificate is not accepted.
    #[error("the client's certificate is refused: {0}")]
    Certificate(String),
    /// The client does not accept the server.
    #[error(
        "the client refuses: it sent the alert {0:?}; does it know the CA and the name of this server's certificate?"
    )]
    RefusedByClient(AlertDescription),
    /// The bytes are no TLS, or of a version or cipher that is not accepted.
    #[error("the client uses another TLS or none: {0}")]
    Protocol(RustlsError),
    /// The client did not request HTTP/2.
    #[error("the client does not request HTTP/2 (ALPN h2)")]
    NoHttp2,
    /// The timeout passed.
    #[error("it lasted longer than {0:?} (--handshake-timeout)")]
    TimedOut(Duration),
    /// The handshake was aborted because there were too many.
    #[error(
        "it was aborted for a newer one, because there were too many, and its address had the most of them"
    )]
    Evicted,
    /// The address of the client began too many.
    #[error("its address begins more a second than --max-handshake-rate")]
    TooFast,
    /// The task panicked.
    #[error(
        "the agent panicked, which is a bug: please report it, with the panic's message in this log"
    )]
    Panicked,
    /// The connection broke.
    #[error("the connection ended: {0}")]
    Gone(io::Error),
}

/// Throttles log lines by the kind of error.
#[derive(Debug)]
pub(super) struct HandshakeErrorLog {
    kinds: [Throttle; KINDS],
}

/// The number of kinds of [`HandshakeError::kind`].
const KINDS: usize = 10;

impl HandshakeError {
    /// Classifies the error of a handshake.
    pub(super) fn of(error: io::Error) -> Self {
        let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<RustlsError>());
        match tls {
            None => Self::Gone(error),
            Some(RustlsError::NoCertificatesPresented) => Self::NoCertificate,
            Some(RustlsError::InvalidCertificate(reason)) => {
                Self::Certificate(describe_client_error(reason))
            }
            Some(RustlsError::NoApplicationProtocol) => Self::NoHttp2,
            Some(RustlsError::AlertReceived(alert)) => Self::RefusedByClient(*alert),
            Some(other) => Self::Protocol(other.clone()),
        }
    }

    /// Returns whether the handshake ran into a limit, and made no error itself.
    pub(super) const fn is_limit(&self) -> bool {
        matches!(self, Self::TimedOut(_) | Self::Evicted | Self::TooFast)
    }

    const fn kind(&self) -> usize {
        match self {
            Self::NoCertificate => 0,
            Self::Certificate(_) => 1,
            Self::RefusedByClient(_) => 2,
            Self::Protocol(_) => 3,
            Self::NoHttp2 => 4,
            Self::TimedOut(_) => 5,
            Self::Evicted => 6,
            Self::Gone(_) => 7,
            Self::TooFast => 9,
            Self::Panicked => 8,
        }
    }
}

impl From<JoinError> for HandshakeError {
    /// Classifies a task that was aborted or panicked.
    fn from(error: JoinError) -> Self {
        if error.is_panic() { Self::Panicked } else { Self::Evicted }
    }
}

impl Default for HandshakeErrorLog {
    fn default() -> Self {
        Self { kinds: [const { Throttle::new(INTERVAL) }; KINDS] }
    }
}

impl HandshakeErrorLog {
    /// Logs an error, unless one of its kind was logged shortly before. Probes that only connect are logged
    /// for debugging.
    pub(super) fn write(&self, error: &HandshakeError, peer: &str) {
        if matches!(error, HandshakeError::Gone(_)) {
            tracing::debug!(peer, "TLS handshake failed: {error}");
            return;
        }
        let Some(untold) = self.kinds[error.kind()].pass(Instant::now()) else { return };
        if matches!(error, HandshakeError::Panicked) {
            tracing::error!(peer, untold, "TLS handshake failed: {error}");
        } else {
            tracing::warn!(peer, untold, "TLS handshake failed: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use rustls::CertificateError;

    use super::*;

    fn of(error: RustlsError) -> String {
        HandshakeError::of(io::Error::new(io::ErrorKind::InvalidData, error)).to_string()
    }

    #[test]
    fn an_error_names_the_side_that_rejects_and_the_reason() {
        assert!(of(RustlsError::NoCertificatesPresented).contains("--client-ca"));
        let said = of(RustlsError::InvalidCertificate(CertificateError::UnknownIssuer));
        assert_eq!(
            said,
            "the client's certificate is refused: no CA of --client-ca has signed it (UnknownIssuer)"
        );
        let said = of(RustlsError::AlertReceived(AlertDescription::UnknownCA));
        assert!(said.starts_with("the client refuses: it sent the alert UnknownCA"), "{said}");
        let said = of(RustlsError::HandshakeNotComplete);
        assert!(said.starts_with("the client uses another TLS or none"), "{said}");
        let gone = HandshakeError::of(io::ErrorKind::UnexpectedEof.into());
        assert!(matches!(gone, HandshakeError::Gone(_)), "{gone}");
    }

    /// A panic is not classified as an eviction.
    #[tokio::test]
    async fn a_panic_is_no_eviction() {
        let panicked = tokio::spawn(async { panic!("as the test wants") }).await;
        let panicked = HandshakeError::from(panicked.map(|(): ()| ()).unwrap_err());
        assert!(matches!(panicked, HandshakeError::Panicked) && !panicked.is_limit(), "{panicked}");
        let aborted = tokio::spawn(std::future::pending::<()>());
        aborted.abort();
        let evicted = HandshakeError::from(aborted.await.unwrap_err());
        assert!(matches!(evicted, HandshakeError::Evicted) && evicted.is_limit(), "{evicted}");
    }
}
