//! Listeners: addresses, bound sockets, accepted connections.

mod address;
mod authority;
mod bind;
mod bind_error;
mod handshake;
mod handshake_error;
mod handshake_slots;
mod incoming;

pub use address::{AddressError, ListenAddress};
#[cfg(any(test, fuzzing))]
pub use authority::fuzzing;
pub use bind::{DEFAULT_DIRECTORY, Listener, SocketFile};
pub use bind_error::BindError;
pub use handshake::{MAX_HANDSHAKES, TlsAcceptorConfig};
pub use incoming::{Connection, Incoming, TCP_BUFFERS, UNIX_BUFFERS};
