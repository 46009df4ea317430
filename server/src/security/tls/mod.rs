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

pub(crate) use certificate::{CertificateInfo, CertificateUse, Validity};
pub(crate) use error::{ExposedKey, TlsError};
pub(crate) use files::{PemFile, TlsFiles};
pub(crate) use rejection::describe_client_error;
pub(crate) use reload::{ReloadHandle, Reloader};
pub(crate) use server_config::{Inspection, MinVersion, inspect};
pub(crate) use state::Tls;
pub(crate) use watch_paths::watched_directories;
pub(crate) use watcher::inotify_masks;

pub(crate) use certificate::names;
