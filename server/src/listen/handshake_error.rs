//! Why handshakes fail, and how much is said of it.

use std::io;
use std::time::{Duration, Instant};

use rustls::{AlertDescription, Error as RustlsError};
use tokio::task::JoinError;

use crate::security::tls::describe_client_error;
use crate::telemetry::Throttle;

/// At most one line for each kind of cause in so long: anyone who reaches the port can make handshakes
/// fail.
const INTERVAL: Duration = Duration::from_secs(10);

/// Why a handshake failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum HandshakeError {
    /// `--client-ca` asks for one.
    #[error("the client presented no certificate, which --client-ca asks for")]
    NoCertificate,
    /// The client's certificate is not one to let in.
    #[error("the client's certificate is refused: {0}")]
    Certificate(String),
    /// The client does not want to speak with this server.
    #[error(
        "the client refuses: it sent the alert {0:?}; does it know the CA and the name of this server's certificate?"
    )]
    RefusedByClient(AlertDescription),
    /// What came is not the TLS that is spoken here.
    #[error("the client speaks other TLS or none: {0}")]
    Protocol(RustlsError),
    /// The client did not ask for HTTP/2.
    #[error("the client does not ask for HTTP/2 (ALPN h2)")]
    NoHttp2,
    /// It took too long.
    #[error("it took longer than {0:?} (--handshake-timeout)")]
    TimedOut(Duration),
    /// Others came meanwhile.
    #[error(
        "too many came after it that had not finished either, and its address had the most of them"
    )]
    Evicted,
    /// The agent is wrong.
    #[error(
        "the agent panicked over it, which is a bug: please report it, with the panic's message in this log"
    )]
    Panicked,
    /// The connection broke.
    #[error("the connection ended: {0}")]
    Gone(io::Error),
}

/// A limit on what is logged.
#[derive(Debug)]
pub(super) struct HandshakeErrorLog {
    kinds: [Throttle; KINDS],
}

/// As many as [`HandshakeError::kind`] knows.
const KINDS: usize = 9;

impl HandshakeError {
    /// Why an attempt to shake hands ended so.
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

    /// Whether it ran out of time or of room, rather than being wrong.
    pub(super) const fn is_late(&self) -> bool {
        matches!(self, Self::TimedOut(_) | Self::Evicted)
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
            Self::Panicked => 8,
        }
    }
}

impl From<JoinError> for HandshakeError {
    /// Why a handshake came to no end: it was told to go, or worse.
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
    /// Says it, unless the like was said a moment ago. Probes that only connect are of no interest.
    pub(super) fn say(&self, error: &HandshakeError, peer: &str) {
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
    fn a_refusal_says_which_side_refuses_and_why() {
        assert!(of(RustlsError::NoCertificatesPresented).contains("--client-ca"));
        let said = of(RustlsError::InvalidCertificate(CertificateError::UnknownIssuer));
        assert_eq!(
            said,
            "the client's certificate is refused: no CA of --client-ca has signed it (UnknownIssuer)"
        );
        let said = of(RustlsError::AlertReceived(AlertDescription::UnknownCA));
        assert!(said.starts_with("the client refuses: it sent the alert UnknownCA"), "{said}");
        let said = of(RustlsError::HandshakeNotComplete);
        assert!(said.starts_with("the client speaks other TLS or none"), "{said}");
        let gone = HandshakeError::of(io::ErrorKind::UnexpectedEof.into());
        assert!(matches!(gone, HandshakeError::Gone(_)), "{gone}");
    }

    /// A defect of the agent is not taken for an eviction.
    #[tokio::test]
    async fn a_panic_is_no_crowd() {
        let panicked = tokio::spawn(async { panic!("as the test wants") }).await;
        let defect = HandshakeError::from(panicked.map(|(): ()| ()).unwrap_err());
        assert!(matches!(defect, HandshakeError::Panicked) && !defect.is_late(), "{defect}");
        let told_to_go = tokio::spawn(std::future::pending::<()>());
        told_to_go.abort();
        let crowded = HandshakeError::from(told_to_go.await.unwrap_err());
        assert!(matches!(crowded, HandshakeError::Evicted) && crowded.is_late(), "{crowded}");
    }
}
