//! Patterns of principals.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use super::{CertificateNames, Principal};

/// The pattern of callers without an identity.
const ANONYMOUS: &str = "anonymous";

/// A pattern that matches principals by their names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Pattern {
    /// `uid:N`: a process of this user.
    Uid(u32),
    /// `gid:N`: a process whose primary group is this; its supplementary groups do not count.
    Gid(u32),
    /// `anonymous`: a caller without an identity.
    Anonymous,
    /// A DNS name of a certificate, in lower case.
    Dns(String),
    /// `*.SUFFIX`: DNS names of one label more; the suffix in lower case, with its dot.
    DnsBelow(String),
    /// A URI of a certificate.
    Uri(String),
    /// `PREFIX/*`: URIs below; the prefix with its slash.
    UriBelow(String),
}

/// The transport of a connection, and what it identifies callers by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    /// A unix socket, with the peer's user and group.
    Unix,
    /// TCP, with the client's certificate.
    Certificate,
    /// TCP, without a certificate.
    Anonymous,
}

/// An error in the text of a pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PatternError {
    /// The text after `uid:` or `gid:` is no number.
    #[error("`{0}` has no number; write uid:1000 or gid:1000")]
    Number(String),
    /// A `*` is where it could have several meanings.
    #[error(
        "`{0}` is ambiguous: `*` may stand for the first label of a DNS name (*.example.org) or for the end of a URI's path (spiffe://example.org/ns/*), and nowhere else"
    )]
    Wildcard(String),
    /// The text would be a DNS name, and is meant as `anonymous`.
    #[error("`{0}` is written in small letters: anonymous")]
    Anonymous(String),
    /// The text has none of the forms.
    #[error(
        "`{0}` is no principal; write uid:N, gid:N, anonymous, a DNS name, or a URI such as spiffe://example.org/collector"
    )]
    Name(String),
}

impl Pattern {
    /// Returns whether this principal matches.
    #[must_use]
    pub(crate) fn matches(&self, principal: &Principal) -> bool {
        match principal {
            Principal::Local { uid, gid } => match self {
                Self::Uid(wanted) => wanted == uid,
                Self::Gid(wanted) => wanted == gid,
                _ => false,
            },
            Principal::Certificate(names) => self.matches_names(names),
            Principal::Anonymous(_) => *self == Self::Anonymous,
        }
    }

    /// Returns whether a principal of this transport can match. A client of TLS has a certificate if the
    /// agent requests one, and no identity otherwise.
    #[must_use]
    pub(crate) const fn uses(&self, transport: Transport) -> bool {
        match self {
            Self::Uid(_) | Self::Gid(_) => matches!(transport, Transport::Unix),
            Self::Anonymous => matches!(transport, Transport::Anonymous),
            Self::Dns(_) | Self::DnsBelow(_) | Self::Uri(_) | Self::UriBelow(_) => {
                matches!(transport, Transport::Certificate)
            }
        }
    }

    fn matches_names(&self, names: &CertificateNames) -> bool {
        match self {
            Self::Dns(wanted) => names.dns.iter().any(|name| name.eq_ignore_ascii_case(wanted)),
            Self::DnsBelow(suffix) => names.dns.iter().any(|name| is_one_label(name, suffix)),
            Self::Uri(wanted) => names.uris.contains(wanted),
            Self::UriBelow(prefix) => names.uris.iter().any(|uri| is_below(uri, prefix)),
            Self::Uid(_) | Self::Gid(_) | Self::Anonymous => false,
        }
    }
}

impl fmt::Display for Pattern {
    /// As it is written in a rule.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Uid(uid) => write!(formatter, "uid:{uid}"),
            Self::Gid(gid) => write!(formatter, "gid:{gid}"),
            Self::Anonymous => formatter.write_str(ANONYMOUS),
            Self::Dns(text) | Self::Uri(text) => formatter.write_str(text),
            Self::DnsBelow(suffix) => write!(formatter, "*{suffix}"),
            Self::UriBelow(prefix) => write!(formatter, "{prefix}*"),
        }
    }
}

impl FromStr for Pattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        let number = |digits: &str| {
            let plain = digits.bytes().all(|byte| byte.is_ascii_digit());
            let number = digits.parse().ok().filter(|_| plain);
            number.ok_or_else(|| PatternError::Number(text.to_owned()))
        };
        if let Some(uid) = text.strip_prefix("uid:") {
            return number(uid).map(Self::Uid);
        }
        if let Some(gid) = text.strip_prefix("gid:") {
            return number(gid).map(Self::Gid);
        }
        if text == ANONYMOUS {
            return Ok(Self::Anonymous);
        }
        if text.eq_ignore_ascii_case(ANONYMOUS) {
            return Err(PatternError::Anonymous(text.to_owned()));
        }
        if text.contains("://") { uri(text) } else { dns(text) }
    }
}

fn dns(text: &str) -> Result<Pattern, PatternError> {
    let (name, below) = text.strip_prefix("*.").map_or((text, false), |suffix| (suffix, true));
    if name.contains('*') {
        return Err(PatternError::Wildcard(text.to_owned()));
    }
    // Certificates name an address by an iPAddress, never by a dNSName (RFC 5280, 4.2.1.6).
    if !name.split('.').all(is_label) || name.parse::<IpAddr>().is_ok() {
        return Err(PatternError::Name(text.to_owned()));
    }
    let name = name.to_ascii_lowercase();
    Ok(if below { Pattern::DnsBelow(format!(".{name}")) } else { Pattern::Dns(name) })
}

fn uri(text: &str) -> Result<Pattern, PatternError> {
    let (whole, below) = text.strip_suffix("/*").map_or((text, false), |prefix| (prefix, true));
    if whole.contains('*') {
        return Err(PatternError::Wildcard(text.to_owned()));
    }
    let (scheme, rest) = whole.split_once("://").unwrap_or_default();
    let (authority, path) = rest.split_once('/').map_or((rest, None), |(a, p)| (a, Some(p)));
    let plain = whole.bytes().all(|byte| byte.is_ascii_graphic());
    if scheme.is_empty() || authority.is_empty() || !plain || !path.is_none_or(is_plain_path) {
        return Err(PatternError::Name(text.to_owned()));
    }
    Ok(if below { Pattern::UriBelow(format!("{whole}/")) } else { Pattern::Uri(whole.to_owned()) })
}

fn is_label(label: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    !label.is_empty() && label.bytes().all(plain)
}

/// Returns whether `name` is one label before `suffix`, as wildcards in certificates match (RFC 9525,
/// 6.3).
fn is_one_label(name: &str, suffix: &str) -> bool {
    let Some(split) = name.len().checked_sub(suffix.len()) else { return false };
    let (Some(label), Some(end)) = (name.get(..split), name.get(split..)) else { return false };
    end.eq_ignore_ascii_case(suffix) && is_label(label)
}

fn is_below(uri: &str, prefix: &str) -> bool {
    uri.strip_prefix(prefix).is_some_and(is_plain_path)
}

/// Returns whether no part of a path is empty, leads upwards, or has an escape, a control character or
/// a blank: another reader could understand such a path differently.
fn is_plain_path(path: &str) -> bool {
    path.bytes().all(|byte| byte.is_ascii_graphic())
        && !path.contains(['%', '?', '#', '\\'])
        && path.split('/').all(|part| !matches!(part, "" | "." | ".."))
}

#[cfg(test)]
mod tests;
