//! The socket that a service reports to, with the descriptors that it sends.

use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use tokio::io::Interest;
use tokio::net::UnixDatagram;

use super::store::Notification;

/// Longer than any notification.
const MESSAGE: usize = 4096;
/// The most descriptors in one message; the kernel's own limit (`SCM_MAX_FD`).
const DESCRIPTORS: usize = 253;

/// A bound socket.
#[derive(Debug)]
pub(super) struct Inbox {
    socket: UnixDatagram,
    path: PathBuf,
}

impl Inbox {
    /// Opens the socket.
    ///
    /// # Errors
    ///
    /// The socket cannot be bound.
    pub(super) fn open(path: &Path) -> Result<Self> {
        Ok(Self { socket: UnixDatagram::bind(path)?, path: path.to_owned() })
    }

    /// Returns the value for the service's `NOTIFY_SOCKET`.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Waits for a message. Nothing is lost when the wait is given up.
    ///
    /// # Errors
    ///
    /// The socket failed.
    pub(super) async fn next(&self) -> Result<Notification> {
        self.socket.async_io(Interest::READABLE, || self.receive()).await.context("receive")
    }

    /// Receives a message if there is one.
    ///
    /// # Errors
    ///
    /// The socket failed.
    pub(super) fn waiting(&self) -> Result<Option<Notification>> {
        match self.receive() {
            Ok(notification) => Ok(Some(notification)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error).context("receive"),
        }
    }

    fn receive(&self) -> io::Result<Notification> {
        let mut bytes = vec![0; MESSAGE];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut slices = [IoSliceMut::new(&mut bytes)];
        let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
        let length = recvmsg(&self.socket, &mut slices, &mut control, flags)?.bytes;
        let mut descriptors: Vec<OwnedFd> = Vec::new();
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(rights) = message {
                descriptors.extend(rights);
            }
        }
        bytes.truncate(length);
        let text = String::from_utf8(bytes).map_err(io::Error::other)?;
        Ok(Notification { text, descriptors })
    }
}
