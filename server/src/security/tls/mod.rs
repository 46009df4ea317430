//! TLS for listeners: certificates from files, read again whenever these change.
//!
//! [`Tls`] is what handshakes and reports ask, [`Reloader`] is the task that keeps it current, and
//! [`inspect`] is for those who only want to know.

mod error;
mod facts;
mod fault;
mod files;
mod folders;
mod material;
mod reload;
mod state;
mod watcher;

pub use error::TlsError;
pub use facts::{CertificateFacts, CertificateUse, Doubt, Validity};
pub use fault::of_client;
pub use files::{PemFile, TlsFiles};
pub use folders::watched_folders;
pub use material::{MinVersion, inspect};
pub use reload::Reloader;
pub use state::{Tls, TlsCounts};

/// Who a certificate of a finished handshake belongs to.
pub use facts::names;
