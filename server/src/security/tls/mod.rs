//! TLS for listeners: certificates from files, read again whenever these change.
//!
//! [`Tls`] holds what handshakes and reports use, [`Reloader`] is the task that keeps it current, and
//! [`inspect`] examines the files without serving.

mod certificate;
mod client_verifier;
mod error;
mod files;
mod pem_mistake;
mod rejection;
mod reload;
mod server_config;
mod state;
mod watch_paths;
mod watcher;

#[cfg(test)]
mod fixtures;

pub use certificate::{CertificateInfo, CertificateUse, CertificateWarning, Validity};
pub use error::{ExposedKey, TlsError};
pub use files::{PemFile, TlsFiles};
pub use pem_mistake::PemMistake;
pub use rejection::describe_client_error;
pub use reload::{ReloadHandle, Reloader};
pub use server_config::{Inspection, MinVersion, inspect};
pub use state::{Tls, TlsCounts};
pub use watch_paths::watched_directories;
pub use watcher::inotify_masks;

pub use certificate::names;
