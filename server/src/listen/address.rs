//! The address of a listener.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// The port of a TCP listener that names none.
const DEFAULT_PORT: u16 = 8275;
/// `sun_path` of `struct sockaddr_un`, less the terminating NUL.
const MAX_PATH_BYTES: usize = 107;

/// The address of a listener.
///
/// ```
/// use taskstatsd::listen::ListenAddress;
///
/// let address: ListenAddress = "tcp://127.0.0.1".parse()?;
/// assert_eq!(address.to_string(), "tcp://127.0.0.1:8275");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListenAddress {
    /// `unix:///path`.
    Unix(PathBuf),
    /// `tcp://host:port`; an IPv6 address stands in brackets.
    Tcp {
        /// A name or an address.
        host: String,
        /// The port; 0 for any that is free.
        port: u16,
    },
}

/// An error in the text of an address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// The text has neither form.
    #[error("`{0}` is no address to listen on; write unix:///path or tcp://host:port")]
    Scheme(String),
    /// The path is relative or empty.
    #[error("the path of `{0}` is not absolute; write unix:///path, with three slashes")]
    RelativePath(String),
    /// The path is longer than an address of the kernel.
    #[error("the path of `{0}` has {1} bytes, and a unix socket's may have 107; use a shorter one")]
    LongPath(String, usize),
    /// The host is missing or the port is no number.
    #[error("`{0}` has no host and port; write tcp://127.0.0.1:8275 or tcp://[::1]:8275")]
    HostPort(String),
}

impl ListenAddress {
    /// Returns whether processes of other machines may reach the address.
    #[must_use]
    pub(crate) fn is_tcp(&self) -> bool {
        matches!(self, Self::Tcp { .. })
    }

    /// Returns whether the system chooses the port.
    #[must_use]
    pub(crate) fn is_any_port(&self) -> bool {
        matches!(self, Self::Tcp { port: 0, .. })
    }
}

impl FromStr for ListenAddress {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        if let Some(path) = text.strip_prefix("unix://") {
            return unix(text, path);
        }
        let authority = text.strip_prefix("tcp://");
        tcp(text, authority.ok_or_else(|| AddressError::Scheme(text.to_owned()))?)
    }
}

fn unix(text: &str, path: &str) -> Result<ListenAddress, AddressError> {
    if !path.starts_with('/') || path.ends_with('/') {
        return Err(AddressError::RelativePath(text.to_owned()));
    }
    if path.len() > MAX_PATH_BYTES {
        return Err(AddressError::LongPath(text.to_owned(), path.len()));
    }
    Ok(ListenAddress::Unix(PathBuf::from(path)))
}

fn tcp(text: &str, authority: &str) -> Result<ListenAddress, AddressError> {
    let error = || AddressError::HostPort(text.to_owned());
    let (host, port) = match authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, "")) => (host, None),
        Some((host, rest)) => (host, Some(rest.strip_prefix(':').ok_or_else(error)?)),
        None => match authority.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        },
    };
    let port = port.map_or(Ok(DEFAULT_PORT), str::parse).map_err(|_| error())?;
    if host.is_empty() || host.contains('/') {
        return Err(error());
    }
    Ok(ListenAddress::Tcp { host: host.to_owned(), port })
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(formatter, "unix://{}", path.display()),
            Self::Tcp { host, port } if host.contains(':') => {
                write!(formatter, "tcp://[{host}]:{port}")
            }
            Self::Tcp { host, port } => write!(formatter, "tcp://{host}:{port}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(text: &str) -> String {
        text.parse::<ListenAddress>().map_or_else(|error| error.to_string(), |it| it.to_string())
    }

    #[test]
    fn addresses_print_in_full() {
        assert_eq!(printed("unix:///run/x.sock"), "unix:///run/x.sock");
        assert_eq!(printed("tcp://localhost"), "tcp://localhost:8275");
        assert_eq!(printed("tcp://[::1]:9"), "tcp://[::1]:9");
        assert_eq!(printed("tcp://[::1]"), "tcp://[::1]:8275");
        assert_eq!(printed("tcp://0.0.0.0:0"), "tcp://0.0.0.0:0");
    }

    #[test]
    fn a_malformed_address_is_refused_with_a_right_one() {
        let long = format!("unix:///{}", "x".repeat(200));
        for (text, hint) in [
            ("", "write unix:///path or tcp://"),
            ("/run/x.sock", "write unix:///path or tcp://"),
            ("http://x", "write unix:///path or tcp://"),
            ("unix://x", "three slashes"),
            ("unix:///run/", "three slashes"),
            (&long, "shorter"),
            ("tcp://", "tcp://127.0.0.1:8275"),
            ("tcp://x:70000", "tcp://127.0.0.1:8275"),
            ("tcp://[::1]x", "tcp://127.0.0.1:8275"),
            ("tcp://x/y", "tcp://127.0.0.1:8275"),
        ] {
            assert!(printed(text).contains(hint), "{text}: {}", printed(text));
        }
    }
}
