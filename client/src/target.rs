//! The address of an agent.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use tonic::transport::{Endpoint, Uri};

/// The TCP port of an agent, for a target without a port.
pub const DEFAULT_PORT: u16 = 8275;

/// The address of an agent.
///
/// A target is parsed from `unix:///run/taskstatsd/taskstatsd.sock`, from an absolute path, from
/// `tls://host:port` (or `https://`), or from `tcp://host:port` (or `http://`) for plaintext. The port
/// is [`DEFAULT_PORT`] when it is omitted.
///
/// ```
/// use taskstats_client::Target;
///
/// let target: Target = "tcp://node7".parse()?;
/// assert_eq!(target.to_string(), "tcp://node7:8275");
/// let target: Target = "https://node7".parse()?;
/// assert_eq!(target.to_string(), "tls://node7:8275");
/// let target: Target = "/run/taskstatsd/taskstatsd.sock".parse()?;
/// assert_eq!(target.to_string(), "unix:///run/taskstatsd/taskstatsd.sock");
/// # Ok::<(), taskstats_client::InvalidTarget>(())
/// ```
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Target {
    /// A unix socket.
    Unix {
        /// Its absolute path.
        path: PathBuf,
    },
    /// A plaintext TCP port.
    Tcp {
        /// Name or address of the host; an IPv6 address is in brackets.
        host: String,
        /// The port.
        port: u16,
    },
    /// A TCP port secured by TLS.
    Tls {
        /// Name or address of the host; an IPv6 address is in brackets.
        host: String,
        /// The port.
        port: u16,
    },
}

/// A text that is not a target.
///
/// ```
/// use taskstats_client::Target;
///
/// let error = "node7".parse::<Target>().unwrap_err();
/// assert_eq!(error.text, "node7");
/// ```
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("target {text:?} is not valid: {problem}")]
pub struct InvalidTarget {
    /// The text.
    pub text: String,
    /// The mistake, and how to correct it.
    pub problem: &'static str,
}

impl Target {
    /// Returns the endpoint that connects to this target.
    pub(crate) fn endpoint(&self) -> Result<Endpoint, InvalidTarget> {
        let address = match self {
            Self::Unix { path } => format!("unix://{}", path.display()),
            Self::Tcp { host, port } => format!("http://{host}:{port}"),
            Self::Tls { host, port } => format!("https://{host}:{port}"),
        };
        Endpoint::from_shared(address).map_err(|_| invalid(&self.to_string(), NOT_A_HOST))
    }
}

impl FromStr for Target {
    type Err = InvalidTarget;

    fn from_str(text: &str) -> Result<Self, InvalidTarget> {
        if text.starts_with('/') {
            return unix(text, text);
        }
        if let Some(rest) = text.strip_prefix("unix:") {
            return unix(text, rest.strip_prefix("//").unwrap_or(rest));
        }
        match text.split_once("://") {
            Some(("tcp" | "http", authority)) => {
                host_and_port(text, authority).map(|(host, port)| Self::Tcp { host, port })
            }
            Some(("tls" | "https", authority)) => {
                host_and_port(text, authority).map(|(host, port)| Self::Tls { host, port })
            }
            _ => Err(invalid(text, NO_SCHEME)),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix { path } => write!(f, "unix://{}", path.display()),
            Self::Tcp { host, port } => write!(f, "tcp://{host}:{port}"),
            Self::Tls { host, port } => write!(f, "tls://{host}:{port}"),
        }
    }
}

const NO_SCHEME: &str = "it does not begin with unix://, tls://, https://, tcp://, http:// or /";
const NOT_A_HOST: &str = "the text after the scheme is not HOST or HOST:PORT";

fn invalid(text: &str, problem: &'static str) -> InvalidTarget {
    InvalidTarget { text: text.to_owned(), problem }
}

fn unix(text: &str, path: &str) -> Result<Target, InvalidTarget> {
    if !path.starts_with('/') {
        return Err(invalid(text, "the path of the socket is not absolute"));
    }
    Ok(Target::Unix { path: PathBuf::from(path) })
}

fn host_and_port(text: &str, authority: &str) -> Result<(String, u16), InvalidTarget> {
    let uri: Uri = format!("http://{authority}").parse().map_err(|_| invalid(text, NOT_A_HOST))?;
    let authority = uri.authority().ok_or_else(|| invalid(text, NOT_A_HOST))?;
    let host = authority.host();
    let rest = authority.as_str().strip_prefix(host);
    let port = match rest {
        Some("") => DEFAULT_PORT,
        Some(port) => {
            parse_port(port).ok_or_else(|| invalid(text, "the port is not from 1 to 65535"))?
        }
        None => return Err(invalid(text, NOT_A_HOST)),
    };
    if host.is_empty() || uri.path() != "/" || uri.query().is_some() {
        return Err(invalid(text, NOT_A_HOST));
    }
    Ok((host.to_owned(), port))
}

/// Parses `:port`.
fn parse_port(text: &str) -> Option<u16> {
    text.strip_prefix(':')?.parse().ok().filter(|&port| port != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        text.parse::<Target>().unwrap().to_string()
    }

    #[test]
    fn every_form_is_parsed() {
        let forms = [
            ("unix:///run/a.sock", "unix:///run/a.sock"),
            ("unix:/run/a.sock", "unix:///run/a.sock"),
            ("/run/a.sock", "unix:///run/a.sock"),
            ("tcp://node7:99", "tcp://node7:99"),
            ("tcp://node7", "tcp://node7:8275"),
            ("http://10.0.0.1", "tcp://10.0.0.1:8275"),
            ("http://10.0.0.1:80/", "tcp://10.0.0.1:80"),
            ("tls://node7", "tls://node7:8275"),
            ("https://node7:443/", "tls://node7:443"),
            ("tcp://[::1]", "tcp://[::1]:8275"),
            ("tcp://[::1]:80", "tcp://[::1]:80"),
        ];
        for (text, expected) in forms {
            assert_eq!(shown(text), expected, "{text}");
        }
    }

    #[test]
    fn a_displayed_target_parses_to_itself() {
        for text in ["unix:///run/a.sock", "tcp://[::1]:80", "tcp://node7:8275", "tls://node7:1"] {
            assert_eq!(shown(text), text);
        }
    }

    #[test]
    fn other_texts_are_refused() {
        let texts = [
            "",
            "node7",
            "node7:80",
            "run/a.sock",
            "unix://run/a.sock",
            "unix:",
            "tcp://",
            "tcp://:80",
            "tcp://node7:0",
            "tcp://node7:70000",
            "tcp://node7:",
            "tcp://a/b",
            "tcp://user@node7",
            "tcp://a?b",
            "tls://",
            "tls://node7/path",
            "ftp://node7",
            "tcp://a b",
        ];
        for text in texts {
            let error = text.parse::<Target>().unwrap_err();
            assert_eq!(error.text, text);
        }
    }
}
