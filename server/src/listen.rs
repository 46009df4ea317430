//! Where callers come in: addresses, bound sockets, accepted connections.

mod address;
mod bind;
mod incoming;

pub use address::{AddressError, ListenAddress};
pub use bind::{BindError, Listener, SocketFile};
pub use incoming::{Connection, Incoming};
