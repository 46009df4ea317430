//! The certificates in use, and what became of them.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use rustls::ServerConfig;

use super::server_config::{ALPN, LoadedConfig};
use super::{CertificateInfo, TlsError};

/// The certificates in use: handshakes take them from here, and reports ask.
#[derive(Debug)]
pub struct Tls {
    current: RwLock<Arc<LoadedConfig>>,
    /// Why the files are not what is in use.
    reload_error: Mutex<Option<String>>,
    reloads: AtomicU64,
    failed_reloads: AtomicU64,
    handshakes: AtomicU64,
    failed_handshakes: AtomicU64,
}

/// What was counted since the start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsCounts {
    /// How often changed files came into use.
    pub reloads: u64,
    /// How often they did not, because they could not be used.
    pub failed_reloads: u64,
    /// Why the files are not what is in use now.
    pub reload_error: Option<String>,
    /// Handshakes that succeeded.
    pub handshakes: u64,
    /// Handshakes that did not.
    pub failed_handshakes: u64,
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

    /// What the next handshake is made with.
    #[must_use]
    pub fn server_config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.current().server)
    }

    /// The certificates in use: the server's first, then the clients' CAs.
    #[must_use]
    pub fn certificates(&self) -> Vec<CertificateInfo> {
        self.current().certificates.clone()
    }

    /// What was counted.
    #[must_use]
    pub fn counts(&self) -> TlsCounts {
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
    pub fn count_handshake(&self, succeeded: bool) {
        let counter = if succeeded { &self.handshakes } else { &self.failed_handshakes };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether a handshake ended with the protocol that is spoken inside.
    #[must_use]
    pub fn is_http2(protocol: Option<&[u8]>) -> bool {
        protocol == Some(ALPN)
    }

    pub(super) fn current(&self) -> Arc<LoadedConfig> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// New handshakes are made with this from now on; connections stay as they are.
    pub(super) fn replace(&self, material: LoadedConfig) {
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(material);
        self.reloads.fetch_add(1, Ordering::Relaxed);
        self.settle();
    }

    /// The files are again what is in use. Tells whether they had not been.
    pub(super) fn settle(&self) -> bool {
        self.reload_error.lock().unwrap_or_else(PoisonError::into_inner).take().is_some()
    }

    /// Notes why the files cannot be used. Tells whether that is news.
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
