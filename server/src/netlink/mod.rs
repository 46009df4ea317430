//! Generic netlink: messages, attributes and sockets.
//!
//! This module knows nothing of tasks. Its `socket` has the system calls that no crate wraps.

mod family;
mod message;
mod poller;
mod request;
mod socket;

pub(crate) use family::resolve_family;
#[cfg(any(test, fuzzing))]
pub(crate) use message::Attribute;
pub(crate) use message::{MessageKind, Messages, attributes};
pub(crate) use poller::{Poller, Waker};
pub(crate) use request::{NumberRequest, Request, RequestAttribute};
pub(crate) use socket::{Inbox, Received, Socket};
