//! Who is at the other end of a connection.

use std::fmt;
use std::net::SocketAddr;

/// Who calls, as far as the connection tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Principal {
    /// A process of this node, through a unix socket: its user and group when it connected
    /// (`SO_PEERCRED` in unix(7)). Its supplementary groups are not known.
    Local {
        /// User id.
        uid: u32,
        /// Group id.
        gid: u32,
    },
    /// Whoever holds the key of a certificate that the client CA signed.
    Certificate(CertificateNames),
    /// Whoever reaches a TCP port.
    Anonymous(SocketAddr),
}

/// What a certificate says that its holder is called: its subject alternative names, or else its subject.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct CertificateNames {
    /// DNS names.
    pub dns: Vec<String>,
    /// URIs, such as SPIFFE ids.
    pub uris: Vec<String>,
    /// The subject, such as `CN=collector`, of a certificate that has neither: no rule is about it, but it
    /// is not every other such certificate's holder.
    pub subject: Option<String>,
}

impl fmt::Display for Principal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local { uid, gid } => write!(formatter, "uid {uid}, gid {gid}"),
            Self::Certificate(names) => names.fmt(formatter),
            Self::Anonymous(address) => write!(formatter, "whoever is at {address}"),
        }
    }
}

impl fmt::Display for CertificateNames {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut names = self.dns.iter().chain(&self.uris);
        let Some(first) = names.next() else {
            let subject = self.subject.as_deref().unwrap_or_default().escape_default();
            return write!(formatter, "the certificate `{subject}` without a DNS name or URI");
        };
        // Escaped, because a certificate may name anything, and a log line or a header may not.
        write!(formatter, "the certificate of {}", first.escape_default())?;
        names.try_for_each(|name| write!(formatter, ", {}", name.escape_default()))
    }
}
