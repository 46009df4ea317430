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
    /// Whoever reaches a TCP port.
    Anonymous(SocketAddr),
}

impl fmt::Display for Principal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local { uid, gid } => write!(formatter, "uid {uid}, gid {gid}"),
            Self::Anonymous(address) => write!(formatter, "whoever is at {address}"),
        }
    }
}
