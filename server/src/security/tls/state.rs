//! The certificates in use, and counters of reloads and handshakes.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use rustls::ServerConfig;

use super::server_config::{ALPN, LoadedConfig};
use super::{CertificateInfo, TlsError};

/// The certificates in use, for handshakes and reports.
#[derive(Debug)]
pub(crate) struct Tls {
    current: RwLock<Arc<LoadedConfig>>,
    /// Set while the files are not what is in use.
    reload_error: Mutex<Option<String>>,
    reloads: AtomicU64,
    failed_reloads: AtomicU64,
    handshakes: AtomicU64,
    failed_handshakes: AtomicU64,
}

/// The counts since the start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct TlsCounts {
    /// Reloads that succeeded.
    pub(crate) reloads: u64,
    /// Reloads that failed, because the files could not be used.
    pub(crate) failed_reloads: u64,
    /// Set while the files are not what is in use, to the reason.
    pub(crate) reload_error: Option<String>,
    /// Handshakes that succeeded.
    pub(crate) handshakes: u64,
    /// Handshakes that failed.
    pub(crate) failed_handshakes: u64,
}

impl Tls {
    pub(super) fn new(material: LoadedConfig) -> Self {
        Self {
            current: RwLock::new(Arc::new(material)),
            reload_error: Mutex::default(),
            reloads: AtomicU64::default(),
            failed_reloads: AtomicU64::default(),
            handshakes: AtomicU64::default(),
            failed_handshakes: AtomicU64::default(),
        }
    }

    /// Returns the configuration of the next handshake.
    #[must_use]
    pub(crate) fn server_config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.current().server)
    }

    /// Returns the certificates in use: the server's, then its intermediates, then the clients' CAs.
    #[must_use]
    pub(crate) fn certificates(&self) -> Vec<CertificateInfo> {
        self.current().certificates.clone()
    }

    /// Returns the counts.
    #[must_use]
    pub(crate) fn counts(&self) -> TlsCounts {
        let error = self.reload_error.lock().unwrap_or_else(PoisonError::into_inner);
        TlsCounts {
            reloads: self.reloads.load(Ordering::Relaxed),
            failed_reloads: self.failed_reloads.load(Ordering::Relaxed),
            reload_error: error.clone(),
            handshakes: self.handshakes.load(Ordering::Relaxed),
            failed_handshakes: self.failed_handshakes.load(Ordering::Relaxed),
        }
    }

    /// Counts a handshake.
    pub(crate) fn count_handshake(&self, succeeded: bool) {
        let counter = if succeeded { &self.handshakes } else { &self.failed_handshakes };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns whether a handshake negotiated HTTP/2.
    #[must_use]
    pub(crate) fn is_http2(protocol: Option<&[u8]>) -> bool {
        protocol == Some(ALPN)
    }

    pub(super) fn current(&self) -> Arc<LoadedConfig> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Uses this for new handshakes. Established connections stay as they are.
    pub(super) fn replace(&self, material: LoadedConfig) {
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(material);
        self.reloads.fetch_add(1, Ordering::Relaxed);
        self.settle();
    }

    /// Notes that the files are what is in use, and returns whether they were not before.
    pub(super) fn settle(&self) -> bool {
        self.reload_error.lock().unwrap_or_else(PoisonError::into_inner).take().is_some()
    }

    /// Notes why the files cannot be used, and returns whether the reason is new.
    pub(super) fn reject(&self, error: &TlsError) -> bool {
        let text = Some(error.to_string());
        let mut known = self.reload_error.lock().unwrap_or_else(PoisonError::into_inner);
        if *known == text {
            return false;
        }
        *known = text;
        self.failed_reloads.fetch_add(1, Ordering::Relaxed);
        true
    }
}
