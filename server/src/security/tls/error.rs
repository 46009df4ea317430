//! Why certificates cannot be used.

use std::io;

use rustls_pki_types::pem;

use super::PemFile;

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
    #[error("watching {what} for changes failed: {source}; {advice}", advice = to_watch(.source))]
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

/// What to do so that files can be watched (`inotify_init(2)`, `inotify_add_watch(2)`).
fn to_watch(error: &io::Error) -> &'static str {
    match error.raw_os_error() {
        Some(libc::EMFILE | libc::ENOSPC | libc::ENOMEM) => {
            "raise the sysctls fs.inotify.max_user_instances and fs.inotify.max_user_watches, and the \
             limit of open files, whichever is used up"
        }
        Some(libc::EACCES | libc::EPERM) => {
            "let the agent's user read it, and enter it if it is a folder: chmod g+r FILE, chmod a+rx FOLDER"
        }
        _ => {
            "look at the folders of --tls-cert, --tls-key and --client-ca, and of the links on the way to them"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder that cannot be read is not mended by a sysctl.
    #[test]
    fn sysctls_are_named_only_where_they_are_used_up() {
        for (errno, is_used_up, is_closed) in [
            (libc::EMFILE, true, false),
            (libc::ENOSPC, true, false),
            (libc::ENOMEM, true, false),
            (libc::EACCES, false, true),
            (libc::ENOTDIR, false, false),
        ] {
            let source = io::Error::from_raw_os_error(errno);
            let told = TlsError::Watch { what: "/tls".to_owned(), source }.to_string();
            assert_eq!(told.contains("sysctl"), is_used_up, "{told}");
            assert_eq!(told.contains("chmod a+rx FOLDER"), is_closed, "{told}");
        }
    }
}
