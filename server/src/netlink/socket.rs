//! A generic netlink socket, with the operations that neli lacks: receiving many datagrams at once,
//! reading the drop counter, and a receive buffer above the system's limit.
#![expect(unsafe_code, reason = "recvmmsg and socket options that no crate in use wraps")]

use std::io;
use std::mem::size_of;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::ptr;

use neli::consts::socket::{Msg, NlFamily};
use neli::socket::NlSocket;
use neli::utils::Groups;
use socket2::{Domain, SockRef};

/// The index of the drop counter in the array of `SO_MEMINFO` (`include/uapi/linux/sock_diag.h`).
const SK_MEMINFO_DROPS: usize = 8;
/// `SK_MEMINFO_VARS`: the length of that array.
const SK_MEMINFO_VARS: usize = 9;

/// A bound generic netlink socket. Calls block unless their documentation says otherwise.
pub(crate) struct Socket {
    inner: NlSocket,
}

impl Socket {
    /// Opens a socket and binds it to a port id that the kernel chooses.
    ///
    /// # Errors
    /// The error of the system call.
    pub(crate) fn open() -> io::Result<Self> {
        let inner = NlSocket::connect(NlFamily::Generic, None, Groups::empty())?;
        Ok(Self { inner })
    }

    /// Adopts a socket that an earlier process bound.
    ///
    /// # Errors
    /// `InvalidInput` if the descriptor is not a netlink socket.
    pub(crate) fn adopt(descriptor: OwnedFd) -> io::Result<Self> {
        if SockRef::from(&descriptor).domain()? != Domain::from(libc::AF_NETLINK) {
            let error = "the descriptor is not a netlink socket";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, error));
        }
        // SAFETY: `into_raw_fd` gives up the ownership of an open descriptor; `NlSocket` becomes
        // its owner and closes it when dropped.
        let inner = unsafe { NlSocket::from_raw_fd(descriptor.into_raw_fd()) };
        Ok(Self { inner })
    }

    /// Releases the descriptor with its registrations, so that another process can adopt it.
    #[must_use]
    pub(crate) fn release(self) -> OwnedFd {
        // SAFETY: `into_raw_fd` gives up the ownership of an open descriptor; `OwnedFd` becomes its
        // owner.
        unsafe { OwnedFd::from_raw_fd(self.inner.into_raw_fd()) }
    }

    /// Sends one request. When this returns, the kernel has processed the request and queued its
    /// replies.
    ///
    /// # Errors
    /// The error of the system call.
    pub(crate) fn send(&self, request: &[u8]) -> io::Result<()> {
        self.inner.send(request, Msg::empty()).map(drop)
    }

    /// Receives one datagram and waits for it if necessary.
    ///
    /// # Errors
    /// `InvalidData` if the datagram is longer than `buffer`; otherwise the error of the system
    /// call.
    pub(crate) fn receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.receive_with(Msg::empty(), buffer)
    }

    /// Receives one datagram without waiting.
    ///
    /// # Errors
    /// `WouldBlock` if no datagram is queued; otherwise as [`Socket::receive`].
    pub(crate) fn receive_now(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.receive_with(Msg::DONTWAIT, buffer)
    }

    fn receive_with(&self, flags: Msg, buffer: &mut [u8]) -> io::Result<usize> {
        // With MSG_TRUNC the kernel returns the datagram's real length.
        let (length, _) = self.inner.recv(&mut *buffer, flags | Msg::TRUNC)?;
        if length > buffer.len() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "the datagram is longer than the buffer",
            ));
        }
        Ok(length)
    }

    /// Receives as many queued datagrams as fit into `inbox`, without waiting.
    ///
    /// # Errors
    /// `WouldBlock` if no datagram is queued; `ENOBUFS` once after the kernel dropped messages.
    pub(crate) fn receive_many(&self, inbox: &mut Inbox) -> io::Result<usize> {
        let count = libc::c_uint::try_from(inbox.headers.len()).unwrap_or(libc::c_uint::MAX);
        // SAFETY: `headers` has `count` entries, each pointing to one iovec of `inbox`, which points
        // to that slot's own bytes; all three are heap blocks that live and stay in place as long as
        // `inbox`, which is borrowed exclusively for the call. A null timeout is allowed.
        let received = unsafe {
            libc::recvmmsg(
                self.as_raw_fd(),
                inbox.headers.as_mut_ptr(),
                count,
                libc::MSG_DONTWAIT,
                ptr::null_mut(),
            )
        };
        usize::try_from(received).map_err(|_| io::Error::last_os_error())
    }

    /// Requests a receive buffer of `bytes`, above `net.core.rmem_max` if the process may, and
    /// returns the size that was granted. The kernel charges a message's whole memory to it, about
    /// twice the message's length.
    ///
    /// # Errors
    /// The error of the system call.
    pub(crate) fn set_receive_buffer(&self, bytes: usize) -> io::Result<usize> {
        let wanted = libc::c_int::try_from(bytes).unwrap_or(libc::c_int::MAX);
        if self.set_option(libc::SO_RCVBUFFORCE, wanted).is_err() {
            self.set_option(libc::SO_RCVBUF, wanted)?;
        }
        let mut granted: libc::c_int = 0;
        self.get_option(libc::SO_RCVBUF, std::slice::from_mut(&mut granted))?;
        // The kernel doubles the value to allow for its own bookkeeping (`socket(7)`).
        Ok(usize::try_from(granted).unwrap_or(0) / 2)
    }

    /// Returns the number of messages that the kernel has dropped at this socket. It wraps at 32
    /// bits.
    ///
    /// # Errors
    /// The error of the system call.
    pub(crate) fn drops(&self) -> io::Result<u32> {
        let mut memory = [0u32; SK_MEMINFO_VARS];
        self.get_option(libc::SO_MEMINFO, &mut memory)?;
        Ok(memory[SK_MEMINFO_DROPS])
    }

    fn set_option(&self, name: libc::c_int, value: libc::c_int) -> io::Result<()> {
        let length = option_length::<libc::c_int>(1);
        // SAFETY: pointer and length are those of `value`, which outlives the call.
        let outcome = unsafe {
            libc::setsockopt(
                self.as_raw_fd(),
                libc::SOL_SOCKET,
                name,
                ptr::from_ref(&value).cast(),
                length,
            )
        };
        if outcome < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// Reads an option that consists of integers of type `T`. Every bit pattern must be a valid
    /// `T`.
    fn get_option<T: Copy + Into<i64>>(
        &self,
        name: libc::c_int,
        values: &mut [T],
    ) -> io::Result<()> {
        let mut length = option_length::<T>(values.len());
        // SAFETY: pointer and length are those of `values`, which is borrowed exclusively for the
        // call. `T` is an integer type, so every value that the kernel writes is valid.
        let outcome = unsafe {
            libc::getsockopt(
                self.as_raw_fd(),
                libc::SOL_SOCKET,
                name,
                values.as_mut_ptr().cast(),
                &raw mut length,
            )
        };
        if outcome < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
}

impl AsRawFd for Socket {
    fn as_raw_fd(&self) -> RawFd {
        self.inner.as_raw_fd()
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the descriptor is open for as long as the socket, which is borrowed.
        unsafe { BorrowedFd::borrow_raw(self.as_raw_fd()) }
    }
}

impl std::fmt::Debug for Socket {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Socket").field("fd", &self.as_raw_fd()).finish()
    }
}

fn option_length<T>(count: usize) -> libc::socklen_t {
    libc::socklen_t::try_from(size_of::<T>() * count).unwrap_or(0)
}

/// A buffer for many datagrams, in slots of one size.
pub(crate) struct Inbox {
    /// The bytes of the slots, one slot after the other.
    bytes: Box<[u8]>,
    /// Entry `i` points to slot `i` of `bytes`.
    _vectors: Box<[libc::iovec]>,
    /// Entry `i` points to entry `i` of `_vectors`.
    headers: Box<[libc::mmsghdr]>,
    slot_bytes: usize,
}

/// The content of a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Received<'a> {
    /// A complete datagram.
    Datagram(&'a [u8]),
    /// A datagram that was longer than the slot; its end is lost.
    Truncated,
}

// SAFETY: the raw pointers in `_vectors` and `headers` point only into heap blocks that the same
// `Inbox` owns, and are followed only by the kernel during `receive_many`, which borrows the `Inbox`
// exclusively. Moving it to another thread moves the owner; the blocks stay where they are.
unsafe impl Send for Inbox {}

impl Inbox {
    /// Allocates `slots` slots of `slot_bytes` bytes each.
    #[must_use]
    pub(crate) fn new(slots: usize, slot_bytes: usize) -> Self {
        let mut bytes = vec![0; slots * slot_bytes].into_boxed_slice();
        let mut vectors: Box<[libc::iovec]> = bytes
            .chunks_exact_mut(slot_bytes)
            .map(|slot| libc::iovec { iov_base: slot.as_mut_ptr().cast(), iov_len: slot.len() })
            .collect();
        let headers = vectors.iter_mut().map(header_of).collect();
        Self { bytes, _vectors: vectors, headers, slot_bytes }
    }

    /// Returns the size of a slot.
    #[must_use]
    pub(crate) fn slot_bytes(&self) -> usize {
        self.slot_bytes
    }

    /// Returns the number of slots.
    #[must_use]
    pub(crate) fn slots(&self) -> usize {
        self.headers.len()
    }

    /// Returns the content of the first `count` slots, after a [`Socket::receive_many`] that
    /// returned `count`.
    pub(crate) fn received(&self, count: usize) -> impl Iterator<Item = Received<'_>> {
        let slots = self.bytes.chunks_exact(self.slot_bytes);
        slots.zip(&self.headers).take(count).map(|(slot, header)| {
            if header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0 {
                return Received::Truncated;
            }
            let length = usize::try_from(header.msg_len).unwrap_or(usize::MAX);
            slot.get(..length).map_or(Received::Truncated, Received::Datagram)
        })
    }
}

impl std::fmt::Debug for Inbox {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Inbox")
            .field("slots", &self.slots())
            .field("slot_bytes", &self.slot_bytes)
            .finish()
    }
}

fn header_of(vector: &mut libc::iovec) -> libc::mmsghdr {
    // SAFETY: `mmsghdr` is a C struct of integers and pointers, for which all zeros is valid: no
    // name, no control data, no vectors.
    let mut header: libc::mmsghdr = unsafe { std::mem::zeroed() };
    header.msg_hdr.msg_iov = vector;
    header.msg_hdr.msg_iovlen = 1;
    header
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netlink::resolve_family;

    /// The kernel sends the error of a refused request to the same socket before the request
    /// returns.
    #[test]
    fn an_unknown_family_is_refused_with_enoent() {
        let error = resolve_family("NO_SUCH_FAMILY").unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ENOENT));
    }

    #[test]
    fn an_empty_socket_would_block_and_has_dropped_nothing() {
        let socket = Socket::open().unwrap();
        let error = socket.receive_many(&mut Inbox::new(4, 64)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        assert_eq!(socket.drops().unwrap(), 0);
    }

    /// The size is granted both below and above the system's limit.
    #[test]
    fn a_receive_buffer_above_the_limit_is_granted() {
        let socket = Socket::open().unwrap();
        assert_eq!(socket.set_receive_buffer(64 << 20).unwrap(), 64 << 20);
        assert_eq!(socket.set_receive_buffer(4096).unwrap(), 4096);
    }

    /// A datagram longer than its slot is reported, and not mistaken for a short one.
    #[test]
    fn a_datagram_longer_than_its_slot_is_reported_as_truncated() {
        let socket = Socket::open().unwrap();
        let request = crate::netlink::Request {
            family: 16,
            command: 3,
            version: 2,
            sequence: 9,
            acknowledge: false,
            attribute: crate::netlink::RequestAttribute::Text(2, "nlctrl"),
        };
        socket.send(&request.encode().unwrap()).unwrap();
        let mut inbox = Inbox::new(2, 32);
        assert_eq!(socket.receive_many(&mut inbox).unwrap(), 1);
        assert_eq!(inbox.received(1).collect::<Vec<_>>(), [Received::Truncated]);
    }
}
