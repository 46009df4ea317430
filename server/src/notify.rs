//! Notifications to the service manager (`sd_notify(3)`), also from the sandbox.
//!
//! The user of the confined agent may have no permission to connect to the manager's socket. A datagram
//! socket that is connected before needs no permission to send.

use std::env;
use std::ffi::OsStr;
use std::io::{self, IoSlice};
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::OnceLock;

use nix::sys::socket::{ControlMessage, MsgFlags, UnixAddr, sendmsg};
use sd_notify::NotifyState;

/// The variable in which a service manager passes the path of its socket.
const NOTIFY_SOCKET: &str = "NOTIFY_SOCKET";
/// The first byte of the path of an abstract socket (`unix(7)`).
const ABSTRACT: u8 = b'@';

/// A socket that is connected to the manager's, since the start of the process.
static MANAGER: OnceLock<UnixDatagram> = OnceLock::new();

/// Returns whether a service manager receives notifications.
#[must_use]
pub(crate) fn is_available() -> bool {
    env::var_os(NOTIFY_SOCKET).is_some()
}

/// Connects to the service manager, if there is one. Later calls have no effect.
///
/// # Errors
/// The error of connect(2). Notifications are then sent to the path, if the user has the permission.
pub(crate) fn connect() -> io::Result<()> {
    let Some(path) = env::var_os(NOTIFY_SOCKET) else { return Ok(()) };
    if MANAGER.get().is_none() {
        let socket = connected(&path)?;
        // If another thread was faster, its connection is used.
        drop(MANAGER.set(socket));
    }
    Ok(())
}

/// Sends a notification to the service manager, if there is one.
///
/// # Errors
/// The error of connect(2) or sendmsg(2).
pub(crate) fn send(state: &[NotifyState<'_>]) -> io::Result<()> {
    send_with_fds(state, &[])
}

/// Sends a notification with descriptors to the service manager, if there is one.
///
/// # Errors
/// The error of connect(2) or sendmsg(2).
pub(crate) fn send_with_fds(
    state: &[NotifyState<'_>],
    descriptors: &[BorrowedFd<'_>],
) -> io::Result<()> {
    let Some(path) = env::var_os(NOTIFY_SOCKET) else { return Ok(()) };
    let text = lines(state);
    // A restarted manager has another socket at the same path.
    let sent = MANAGER.get().map(|manager| transmit(manager, &text, descriptors));
    match sent {
        Some(Ok(())) => Ok(()),
        _ => transmit(&connected(&path)?, &text, descriptors),
    }
}

fn connected(path: &OsStr) -> io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    match path.as_bytes().strip_prefix(&[ABSTRACT]) {
        Some(name) => socket.connect_addr(&SocketAddr::from_abstract_name(name)?)?,
        None => socket.connect(path)?,
    }
    Ok(socket)
}

fn lines(state: &[NotifyState<'_>]) -> String {
    state.iter().map(|state| format!("{state}\n")).collect()
}

fn transmit(socket: &UnixDatagram, text: &str, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    let numbers: Vec<RawFd> = descriptors.iter().map(AsRawFd::as_raw_fd).collect();
    let rights = [ControlMessage::ScmRights(&numbers)];
    let control = if numbers.is_empty() { &rights[..0] } else { &rights[..] };
    let text = [IoSlice::new(text.as_bytes())];
    let flags = MsgFlags::MSG_NOSIGNAL;
    sendmsg::<UnixAddr>(socket.as_raw_fd(), &text, control, flags, None)?;
    Ok(())
}
