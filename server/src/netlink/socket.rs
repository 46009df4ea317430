//! A generic netlink socket, with the calls that neli lacks: many messages at once, the drop
//! counter, a receive buffer beyond the system's limit.
#![expect(unsafe_code, reason = "recvmmsg and socket options that no crate in use wraps")]

use std::io;
use std::mem::{size_of, size_of_val};
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::ptr;

use neli::consts::socket::{Msg, NlFamily};
use neli::socket::NlSocket;
use neli::utils::Groups;
use socket2::{Domain, SockRef};

/// Index of the drop counter in `SO_MEMINFO`'s array (`include/uapi/linux/sock_diag.h`).
const SK_MEMINFO_DROPS: usize = 8;
/// `SK_MEMINFO_VARS`: entries of that array.
const SK_MEMINFO_VARS: usize = 9;

/// A bound generic netlink socket, blocking unless a call says otherwise.
pub struct Socket {
    inner: NlSocket,
}

impl Socket {
    /// Opens and binds a socket under a port id that the kernel chooses.
    ///
    /// # Errors
    /// What the kernel said.
    pub fn open() -> io::Result<Self> {
        let inner = NlSocket::connect(NlFamily::Generic, None, Groups::empty())?;
        Ok(Self { inner })
    }

    /// Takes over a socket that an earlier process bound, for instance through the service manager.
    ///
    /// # Errors
    /// `InvalidInput` when the descriptor is no netlink socket.
    pub fn adopt(descriptor: OwnedFd) -> io::Result<Self> {
        if SockRef::from(&descriptor).domain()? != Domain::from(libc::AF_NETLINK) {
            let error = "the descriptor is no netlink socket";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, error));
        }
        // SAFETY: `into_raw_fd` gives up the ownership of an open descriptor, which `NlSocket` takes
        // over and closes when dropped.
        let inner = unsafe { NlSocket::from_raw_fd(descriptor.into_raw_fd()) };
        Ok(Self { inner })
    }

    /// Gives up the socket, registered as it is, for another process to adopt.
    #[must_use]
    pub fn release(self) -> OwnedFd {
        // SAFETY: `into_raw_fd` gives up the ownership of an open descriptor, which `OwnedFd` takes
        // over.
        unsafe { OwnedFd::from_raw_fd(self.inner.into_raw_fd()) }
    }

    /// Sends one request. The kernel has carried it out when this returns; its replies wait in the
    /// socket.
    ///
    /// # Errors
    /// What the kernel said.
    pub fn send(&self, request: &[u8]) -> io::Result<()> {
        self.inner.send(request, Msg::empty()).map(drop)
    }

    /// Receives one datagram, waiting for it if need be.
    ///
    /// # Errors
    /// `InvalidData` when the datagram is longer than `buffer`; else what the kernel said.
    pub fn receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.receive_with(Msg::empty(), buffer)
    }

    /// Receives one datagram that is already there.
    ///
    /// # Errors
    /// `WouldBlock` when none waits; otherwise as [`Socket::receive`].
    pub fn receive_now(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.receive_with(Msg::DONTWAIT, buffer)
    }

    fn receive_with(&self, flags: Msg, buffer: &mut [u8]) -> io::Result<usize> {
        // With MSG_TRUNC the kernel returns the datagram's real length.
        let (length, _) = self.inner.recv(&mut *buffer, flags | Msg::TRUNC)?;
        if length > buffer.len() {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a datagram was cut short"));
        }
        Ok(length)
    }

    /// Receives as many datagrams as wait and fit into `inbox`, without waiting.
    ///
    /// # Errors
    /// `WouldBlock` when none waits; `ENOBUFS` once after the kernel dropped messages.
    pub fn receive_many(&self, inbox: &mut Inbox) -> io::Result<usize> {
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

    /// Asks for a receive buffer of `bytes`, beyond `net.core.rmem_max` if need be, and returns what
    /// was granted. The kernel counts a message's whole memory against it, about twice its length.
    ///
    /// # Errors
    /// What the kernel said.
    pub fn set_receive_buffer(&self, bytes: usize) -> io::Result<usize> {
        let wanted = libc::c_int::try_from(bytes).unwrap_or(libc::c_int::MAX);
        if self.set_option(libc::SO_RCVBUFFORCE, wanted).is_err() {
            self.set_option(libc::SO_RCVBUF, wanted)?;
        }
        let mut granted: libc::c_int = 0;
        self.get_option(libc::SO_RCVBUF, std::slice::from_mut(&mut granted))?;
        // The kernel doubles the value to allow for its own bookkeeping (socket(7)).
        Ok(usize::try_from(granted).unwrap_or(0) / 2)
    }

    /// Number of messages that the kernel has dropped at this socket; it wraps at 32 bits.
    ///
    /// # Errors
    /// What the kernel said.
    pub fn drops(&self) -> io::Result<u32> {
        let mut memory = [0u32; SK_MEMINFO_VARS];
        self.get_option(libc::SO_MEMINFO, &mut memory)?;
        Ok(memory[SK_MEMINFO_DROPS])
    }

    fn set_option(&self, name: libc::c_int, value: libc::c_int) -> io::Result<()> {
        let length = option_length::<libc::c_int>(1);
        // SAFETY: the pointer and the length are those of `value`, which outlives the call.
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

    /// Reads an option made of integers of type `T`; every bit pattern must be a `T`.
    fn get_option<T: Copy + Into<i64>>(
        &self,
        name: libc::c_int,
        values: &mut [T],
    ) -> io::Result<()> {
        let mut length = option_length::<T>(values.len());
        // SAFETY: the pointer and the length are those of `values`, which is borrowed exclusively
        // for the call; `T` is an integer type, so whatever the kernel writes is valid.
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

impl std::fmt::Debug for Socket {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Socket").field("fd", &self.as_raw_fd()).finish()
    }
}

fn option_length<T>(count: usize) -> libc::socklen_t {
    libc::socklen_t::try_from(size_of::<T>() * count).unwrap_or(0)
}

/// Room for many datagrams, in slots of one size.
pub struct Inbox {
    /// The slots' bytes, one after the other.
    bytes: Box<[u8]>,
    /// Entry `i` points to slot `i` of `bytes`.
    _vectors: Box<[libc::iovec]>,
    /// Entry `i` points to entry `i` of `_vectors`.
    headers: Box<[libc::mmsghdr]>,
    slot_bytes: usize,
}

/// What one slot holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received<'a> {
    /// A whole datagram.
    Datagram(&'a [u8]),
    /// A datagram that did not fit; its rest is gone.
    Truncated,
}

// SAFETY: the raw pointers in `_vectors` and `headers` point only into heap blocks that the same
// `Inbox` owns, and are followed only by the kernel during `receive_many`, which borrows the `Inbox`
// exclusively. Moving it to another thread moves the owner; the blocks stay where they are.
unsafe impl Send for Inbox {}

impl Inbox {
    /// Makes room for `slots` datagrams of up to `slot_bytes` each.
    #[must_use]
    pub fn new(slots: usize, slot_bytes: usize) -> Self {
        let mut bytes = vec![0; slots * slot_bytes].into_boxed_slice();
        let mut vectors: Box<[libc::iovec]> = bytes
            .chunks_exact_mut(slot_bytes)
            .map(|slot| libc::iovec { iov_base: slot.as_mut_ptr().cast(), iov_len: slot.len() })
            .collect();
        let headers = vectors.iter_mut().map(header_of).collect();
        Self { bytes, _vectors: vectors, headers, slot_bytes }
    }

    /// Size of a slot.
    #[must_use]
    pub fn slot_bytes(&self) -> usize {
        self.slot_bytes
    }

    /// Number of slots.
    #[must_use]
    pub fn slots(&self) -> usize {
        self.headers.len()
    }

    /// Memory held, in bytes.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.bytes.len() + size_of_val(&*self._vectors) + size_of_val(&*self.headers)
    }

    /// What the first `count` slots hold after a [`Socket::receive_many`] that returned `count`.
    pub fn received(&self, count: usize) -> impl Iterator<Item = Received<'_>> {
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

    /// A request that the kernel refuses is answered on the same socket, at once.
    #[test]
    fn an_unknown_family_is_an_enoent() {
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

    /// The buffer asked for is the buffer granted, above and below the system's limit.
    #[test]
    fn a_receive_buffer_beyond_the_limit_is_granted() {
        let socket = Socket::open().unwrap();
        assert_eq!(socket.set_receive_buffer(64 << 20).unwrap(), 64 << 20);
        assert_eq!(socket.set_receive_buffer(4096).unwrap(), 4096);
    }

    /// A slot too small is noticed, not taken for a short message.
    #[test]
    fn a_datagram_longer_than_its_slot_is_marked() {
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
