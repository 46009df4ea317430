//! Listeners: addresses, bound sockets, accepted connections.

mod address;
mod authority;
mod bind;
mod bind_error;
mod handshake;
mod handshake_error;
mod handshake_rate;
mod handshake_slots;
mod incoming;

pub(crate) use address::AddressError;
pub use address::ListenAddress;
#[cfg(any(test, fuzzing))]
pub use authority::fuzzing;
pub(crate) use bind::{DEFAULT_DIRECTORY, Listener};
pub(crate) use bind_error::BindError;
pub(crate) use handshake::{MAX_HANDSHAKES, TlsAcceptorConfig};
pub(crate) use incoming::{Connection, Incoming, TCP_BUFFERS, UNIX_BUFFERS};
