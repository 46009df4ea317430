//! Where callers come in: addresses, bound sockets, accepted connections.

mod address;
mod bind;
mod handshake;
mod handshake_error;
mod handshake_slots;
mod incoming;

pub use address::{AddressError, ListenAddress};
pub use bind::{BindError, DEFAULT_DIRECTORY, Listener, SocketFile};
pub use handshake::{MAX_HANDSHAKES, TlsAcceptorConfig};
pub use incoming::{Connection, Incoming, TCP_BUFFERS, UNIX_BUFFERS};
