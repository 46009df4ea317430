//! Why certificates cannot be used.

use std::io;

use rustls_pki_types::pem;

use super::PemFile;
use crate::advice::{Cause, HasCause};

/// Files that make no TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("reading {file} failed: {source}; name a PEM file that the agent may read")]
    Read {
        /// The file.
        file: PemFile,
        /// What the system said.
        source: io::Error,
    },
    /// It is no file of this kind.
    #[error("{file} has more than {limit} bytes, so it is no PEM file of certificates or a key")]
    TooLarge {
        /// The file.
        file: PemFile,
        /// The most that is read.
        limit: u64,
    },
    /// Its text is no PEM.
    #[error("{file} is not PEM: {source}")]
    Pem {
        /// The file.
        file: PemFile,
        /// What is wrong.
        source: pem::Error,
    },
    /// There is none inside.
    #[error("{file} has no {wanted}; it must be PEM with a section BEGIN {wanted}")]
    Missing {
        /// The file.
        file: PemFile,
        /// The section that was looked for.
        wanted: &'static str,
    },
    /// A certificate cannot be read or used.
    #[error("{file} has a certificate that cannot be used: {reason}")]
    Certificate {
        /// The file.
        file: PemFile,
        /// What is wrong.
        reason: String,
    },
    /// Certificate and key do not belong together, or the key is of an unknown kind.
    #[error("{certificate} and {key} make no pair: {reason}")]
    Pair {
        /// The file of the certificate.
        certificate: PemFile,
        /// The file of the key.
        key: PemFile,
        /// What rustls said.
        reason: String,
    },
    /// Nothing can be verified by these CAs.
    #[error("{file} cannot verify clients: {reason}")]
    ClientCa {
        /// The file.
        file: PemFile,
        /// What rustls said.
        reason: String,
    },
    /// It was valid.
    #[error("the certificate of {file} expired at {at}; renew it")]
    Expired {
        /// The file.
        file: PemFile,
        /// When, in RFC 3339.
        at: String,
    },
    /// It will be valid.
    #[error("the certificate of {file} is not valid before {from}; check the clocks")]
    NotYetValid {
        /// The file.
        file: PemFile,
        /// When, in RFC 3339.
        from: String,
    },
    /// The protocol cannot be set up.
    #[error("setting up TLS failed: {0}")]
    Protocol(rustls::Error),
    /// The files cannot be watched.
    #[error("watching {what} for changes failed: {source}")]
    Watch {
        /// The folder or the file, or the whole.
        what: String,
        /// What the system said.
        source: io::Error,
    },
    /// There is no thread to read them.
    #[error(
        "starting a thread to read the files failed: {0}; raise the limit of the agent's threads"
    )]
    Thread(#[source] io::Error),
    /// Reading ended before its time.
    #[error("reading the files panicked, which is a bug of the agent; its log has the place")]
    Interrupted,
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
