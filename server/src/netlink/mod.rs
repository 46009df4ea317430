//! Generic netlink on the wire: messages, attributes, sockets.
//!
//! The only module that makes raw system calls. It knows nothing of tasks.

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
