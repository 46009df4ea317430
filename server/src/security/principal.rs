//! Who is at the other end of a connection.

use std::fmt;
use std::net::SocketAddr;

/// Who calls, as far as the connection tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Principal {
    /// A process of this node, through a unix socket: its user and group when it connected
    /// (`SO_PEERCRED` in unix(7)).
    Local {
        /// User id.
        uid: u32,
        /// Group id.
        gid: u32,
    },
    /// The owner of a certificate that a CA of `--client-ca` signed.
    Certificate(CertificateNames),
    /// Whoever reaches a TCP port.
    Anonymous(SocketAddr),
}

/// The names that a CA confirmed: the subject alternative names of a certificate. Its subject is none
/// of them, as has been so since RFC 6125.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CertificateNames {
    /// DNS names.
    pub dns: Vec<String>,
    /// URIs, such as SPIFFE ids.
    pub uris: Vec<String>,
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
        let names: Vec<&str> = self.uris.iter().chain(&self.dns).map(String::as_str).collect();
        match names.as_slice() {
            [] => formatter.write_str("a certificate without names"),
            names => write!(formatter, "the certificate of {}", names.join(", ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_shown_by_its_names() {
        let names = CertificateNames {
            dns: vec!["collector.example".to_owned()],
            uris: vec!["spiffe://cluster.local/ns/monitoring".to_owned()],
        };
        let shown = Principal::Certificate(names).to_string();
        let expected = "the certificate of spiffe://cluster.local/ns/monitoring, collector.example";
        assert_eq!(shown, expected);
        let nameless = Principal::Certificate(CertificateNames::default());
        assert_eq!(nameless.to_string(), "a certificate without names");
    }
}
