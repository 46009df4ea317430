//! Where callers come in: addresses, bound sockets, accepted connections.

mod address;
mod authority;
mod bind;
mod handshake;
mod incoming;
mod places;
mod refusal;

#[cfg(any(test, fuzzing))]
pub use authority::fuzzing;
pub use address::{AddressError, ListenAddress};
pub use bind::{BindError, DEFAULT_FOLDER, Listener, SocketFile};
pub use handshake::{HANDSHAKES, Security};
pub use incoming::{Connection, Incoming, TCP_BUFFERS, UNIX_BUFFERS};
