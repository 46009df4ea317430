//! Where callers come in: addresses, bound sockets, accepted connections.

mod address;
mod bind;
mod handshake;
mod incoming;
mod places;
mod refusal;

pub use address::{AddressError, ListenAddress};
pub use bind::{BindError, DEFAULT_FOLDER, Listener, SocketFile};
pub use handshake::{HANDSHAKES, Security};
pub use incoming::{Connection, Incoming};
