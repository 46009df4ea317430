//! Generic netlink: messages, attributes and sockets.
//!
//! This module knows nothing of tasks. Its `socket` has the system calls that no crate wraps.

mod family;
mod message;
mod poller;
mod request;
mod socket;

pub use family::resolve_family;
pub use message::{
    Attribute, Attributes, Message, MessageHeader, MessageKind, Messages, attributes,
};
pub use poller::{Poller, Waker};
pub use request::{NumberRequest, Request, RequestAttribute};
pub use socket::{Inbox, Received, Socket};
