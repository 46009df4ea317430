//! Errors about certificates.

use std::io;

use rustls_pki_types::pem;

use super::PemFile;
use super::pem_mistake::PemMistake;
use crate::advice::{Cause, HasCause};

/// Files that cannot be used for TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("reading {file} failed: {source}; name a PEM file that the agent may read")]
    Read {
        /// The file.
        file: PemFile,
        /// The error of the system call.
        source: io::Error,
    },
    /// The file is larger than any such file.
    #[error("{file} has more than {limit} bytes, so it is no PEM file of certificates or a key")]
    TooLarge {
        /// The file.
        file: PemFile,
        /// The largest size.
        limit: u64,
    },
    /// Any user of the node could replace the key.
    #[error(
        "{file} has mode {mode:04o}, so every user of this node can replace the key; chmod 640 it"
    )]
    WritableKey {
        /// The file.
        file: PemFile,
        /// The permissions.
        mode: u32,
    },
    /// The file is of another kind than its flag needs.
    #[error("{file} {mistake}")]
    Mistake {
        /// The file.
        file: PemFile,
        /// The kind, and what to do about it.
        mistake: PemMistake,
    },
    /// The text is malformed.
    #[error("{file} is not PEM: {source}; it may have been written in part")]
    Pem {
        /// The file.
        file: PemFile,
        /// The error.
        source: pem::Error,
    },
    /// The section that is needed is missing.
    #[error("{file} has no {wanted}; it must be PEM with a section BEGIN {wanted}")]
    Missing {
        /// The file.
        file: PemFile,
        /// The section.
        wanted: &'static str,
    },
    /// The server's certificate is not the first of its file.
    #[error(
        "{file} begins with another certificate than that of {key}, which is number {position}; put the server's certificate first, and after it those that lead to its CA: cat SERVER INTERMEDIATE > FILE"
    )]
    Order {
        /// The file of the certificates.
        file: PemFile,
        /// The file of the key.
        key: PemFile,
        /// The number of the certificate that belongs to the key, from 1.
        position: usize,
    },
    /// A certificate is malformed.
    #[error("{file} has a certificate that cannot be read: {reason}; make it anew")]
    Certificate {
        /// The file.
        file: PemFile,
        /// The error.
        reason: String,
    },
    /// The certificate and the key do not belong together, or the key is of an unknown kind.
    #[error("{certificate} and {key} make no pair: {reason}")]
    Pair {
        /// The file of the certificate.
        certificate: PemFile,
        /// The file of the key.
        key: PemFile,
        /// The error of rustls.
        reason: String,
    },
    /// No client can be verified by these CAs.
    #[error("{file} cannot verify clients: {reason}")]
    ClientCa {
        /// The file.
        file: PemFile,
        /// The error of rustls.
        reason: String,
    },
    /// The certificate is not valid any more.
    #[error("the certificate of {file} expired at {at}; renew it")]
    Expired {
        /// The file.
        file: PemFile,
        /// The end, by RFC 3339.
        at: String,
    },
    /// The certificate is not valid yet.
    #[error("the certificate of {file} is not valid before {from}; check the clocks")]
    NotYetValid {
        /// The file.
        file: PemFile,
        /// The beginning, by RFC 3339.
        from: String,
    },
    /// The protocol cannot be set up.
    #[error("setting up TLS failed: {0}")]
    Protocol(rustls::Error),
    /// The files cannot be watched.
    #[error("watching {what} for changes failed: {source}")]
    Watch {
        /// The directory or the file, or all of them.
        what: String,
        /// The error of the system call.
        source: io::Error,
    },
    /// No thread could be started to read the files.
    #[error(
        "starting a thread to read the files failed: {0}; raise the limit of the agent's threads"
    )]
    Thread(#[source] io::Error),
    /// The thread that read the files panicked.
    #[error(
        "reading the files panicked, which is a bug of the agent: please report it, with the panic's message in this log"
    )]
    Interrupted,
}

/// A private key that every user of the node can read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file} has mode {mode:04o}, so every user of this node can read the key")]
pub(crate) struct ExposedKey {
    pub(super) file: PemFile,
    pub(super) mode: u32,
}

impl HasCause for ExposedKey {
    fn cause(&self) -> Option<Cause> {
        Some(Cause::ExposedKey)
    }
}

impl HasCause for TlsError {
    fn cause(&self) -> Option<Cause> {
        let Self::Watch { source, .. } = self else { return None };
        match source.raw_os_error() {
            Some(libc::EACCES | libc::EPERM) => Some(Cause::UnreadableKeys),
            _ => self.is_exhaustion().then_some(Cause::Inotify),
        }
    }
}

impl TlsError {
    /// Returns whether inotify instances, watches, descriptors or memory are used up
    /// (`inotify_init(2)`, `inotify_add_watch(2)`).
    pub(super) fn is_exhaustion(&self) -> bool {
        const EXHAUSTED: [i32; 4] = [libc::EMFILE, libc::ENFILE, libc::ENOSPC, libc::ENOMEM];
        let Self::Watch { source, .. } = self else { return false };
        source.raw_os_error().is_some_and(|errno| EXHAUSTED.contains(&errno))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A directory that cannot be read is not mended by a sysctl.
    #[test]
    fn sysctls_are_named_only_where_they_are_used_up() {
        for (errno, cause) in [
            (libc::EMFILE, Some(Cause::Inotify)),
            (libc::ENOSPC, Some(Cause::Inotify)),
            (libc::ENOMEM, Some(Cause::Inotify)),
            (libc::EACCES, Some(Cause::UnreadableKeys)),
            (libc::ENOTDIR, None),
        ] {
            let source = io::Error::from_raw_os_error(errno);
            let error = TlsError::Watch { what: "/tls".to_owned(), source };
            assert_eq!(error.cause(), cause, "{error}");
        }
    }
}
