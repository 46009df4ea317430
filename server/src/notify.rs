//! Telling the service manager (`sd_notify(3)`), also after privileges were given up.
//!
//! A manager's socket may be closed to the user that the agent becomes. A datagram socket that was
//! connected before needs no permission to send.

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

/// Set by a service manager that listens.
const NOTIFY_SOCKET: &str = "NOTIFY_SOCKET";
/// What the path of a socket without a file begins with.
const ABSTRACT: u8 = b'@';

/// The manager's end of it, as it was at the start of the process.
static MANAGER: OnceLock<UnixDatagram> = OnceLock::new();

/// Whether there is a service manager that listens.
#[must_use]
pub fn is_heard() -> bool {
    env::var_os(NOTIFY_SOCKET).is_some()
}

/// Connects to the service manager, if there is one; later calls do nothing.
///
/// # Errors
/// What the system said; messages are then sent by path, if the user may.
pub fn connect() -> io::Result<()> {
    let Some(path) = env::var_os(NOTIFY_SOCKET) else { return Ok(()) };
    if MANAGER.get().is_none() {
        let socket = connected(&path)?;
        // Another thread was faster: one connection is as good as another.
        drop(MANAGER.set(socket));
    }
    Ok(())
}

/// Sends a message, if there is someone to send it to.
///
/// # Errors
/// What the system said.
pub fn send(state: &[NotifyState<'_>]) -> io::Result<()> {
    send_with_fds(state, &[])
}

/// Sends a message with descriptors, if there is someone to send it to.
///
/// # Errors
/// What the system said.
pub fn send_with_fds(state: &[NotifyState<'_>], descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    let Some(path) = env::var_os(NOTIFY_SOCKET) else { return Ok(()) };
    let text = lines(state);
    // A manager that was started anew has another socket at the same path.
    let early = MANAGER.get().map(|manager| transmit(manager, &text, descriptors));
    match early {
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
