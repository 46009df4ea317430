//! Identities of the peers of connections.

use std::fmt;
use std::net::SocketAddr;

/// Names of a certificate that are shown. They identify its holder, and a certificate may have thousands,
/// more than the headers of a refused call can carry.
const SHOWN_NAMES: usize = 3;
/// Characters of a name that are shown. No DNS name is longer, but a URI or a subject may be.
const SHOWN_CHARACTERS: usize = 253;

/// The identity of a caller, as far as its connection proves it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Principal {
    /// A process of this node, through a unix socket: its user and group when it connected
    /// (`SO_PEERCRED` in unix(7)), without its supplementary groups.
    Local {
        /// User id.
        uid: u32,
        /// Group id.
        gid: u32,
    },
    /// The holder of the key of a certificate that the client CA signed.
    Certificate(CertificateNames),
    /// A client of a TCP port without a certificate.
    Anonymous(SocketAddr),
}

/// The names of a certificate's holder: its subject alternative names, or else its subject.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct CertificateNames {
    /// DNS names.
    pub(crate) dns: Vec<String>,
    /// URIs, such as SPIFFE ids.
    pub(crate) uris: Vec<String>,
    /// The subject, such as `CN=collector`, of a certificate that has neither. No rule matches it, but it
    /// distinguishes the holders of such certificates.
    pub(crate) subject: Option<String>,
}

impl fmt::Display for Principal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local { uid, gid } => write!(formatter, "uid {uid}, gid {gid}"),
            Self::Certificate(names) => names.fmt(formatter),
            Self::Anonymous(address) => write!(formatter, "the client at {address}"),
        }
    }
}

impl fmt::Display for CertificateNames {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut names = self.dns.iter().chain(&self.uris).map(|name| Shown(name));
        let Some(first) = names.next() else {
            let subject = Shown(self.subject.as_deref().unwrap_or_default());
            return write!(formatter, "the certificate `{subject}` without a DNS name or URI");
        };
        write!(formatter, "the certificate of {first}")?;
        for name in names.by_ref().take(SHOWN_NAMES - 1) {
            write!(formatter, ", {name}")?;
        }
        match names.count() {
            0 => Ok(()),
            more => write!(formatter, " and {more} more"),
        }
    }
}

/// Displays a name, bounded and escaped: a certificate may contain any characters, and a log line or a
/// header may not.
struct Shown<'a>(&'a str);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let end = self.0.char_indices().nth(SHOWN_CHARACTERS).map(|(end, _)| end);
        match end.and_then(|end| self.0.get(..end)) {
            Some(beginning) => write!(formatter, "{}...", beginning.escape_default()),
            None => write!(formatter, "{}", self.0.escape_default()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(count: usize) -> CertificateNames {
        let dns = (1..=count).map(|number| format!("{number}.example")).collect();
        CertificateNames { dns, ..CertificateNames::default() }
    }

    #[test]
    fn three_names_are_shown_and_the_others_are_counted() {
        assert_eq!(named(1).to_string(), "the certificate of 1.example");
        let three = "the certificate of 1.example, 2.example, 3.example";
        assert_eq!(named(3).to_string(), three);
        assert_eq!(named(5).to_string(), format!("{three} and 2 more"));
    }

    /// The description of a caller fits into the headers that clients read, 8 KiB by default.
    #[test]
    fn a_description_is_short_whatever_a_certificate_contains() {
        let long = || "\u{10ffff}".repeat(10_000);
        let names = CertificateNames { uris: vec![long(); 9], ..CertificateNames::default() };
        assert!(names.to_string().len() < 8 << 10);
        let names = CertificateNames { subject: Some(long()), ..CertificateNames::default() };
        assert!(names.to_string().len() < 8 << 10);
        assert!(names.to_string().contains("ffff}..."), "{names}");
    }
}
