//! A generic netlink socket of the taskstats family.

use std::os::fd::{AsRawFd, OwnedFd};

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, getsockname,
    recv, send, setsockopt, socket, sockopt,
};

use super::netlink_table::PortId;
use super::wire::{Message, Request, find, read_u16};

/// Type of messages to the controller of generic netlink (`GENL_ID_CTRL`).
const CONTROLLER: u16 = 0x10;
/// Queries the controller for a family (`CTRL_CMD_GETFAMILY`).
const GET_FAMILY: u8 = 3;
/// The family's id in the reply (`CTRL_ATTR_FAMILY_ID`).
const FAMILY_ID: u16 = 1;
/// The family's name in the request (`CTRL_ATTR_FAMILY_NAME`).
const FAMILY_NAME: u16 = 2;
/// Queries statistics or registers a listener (`TASKSTATS_CMD_GET`).
const TASKSTATS_GET: u8 = 1;
/// Registers a list of CPUs (`TASKSTATS_CMD_ATTR_REGISTER_CPUMASK`).
const REGISTER: u16 = 3;
/// Removes the registration (`TASKSTATS_CMD_ATTR_DEREGISTER_CPUMASK`).
const DEREGISTER: u16 = 4;
/// Buffer for one message: an exit with a group record is below 1.5 KiB on all known kernels.
const DATAGRAM: usize = 16 * 1024;

/// A socket that is closed when it is dropped.
#[derive(Debug)]
pub struct Socket {
    descriptor: OwnedFd,
    family: u16,
    buffer: Vec<u8>,
}

impl Socket {
    /// Opens a socket under a port id that the kernel chooses.
    ///
    /// # Errors
    ///
    /// The kernel has no taskstats, or no sockets to give.
    pub fn open() -> Result<Self> {
        Self::open_at(PortId::KERNEL_CHOOSES)
    }

    /// Opens a socket under a port id that another socket had.
    ///
    /// # Errors
    ///
    /// As in [`Socket::open`], and when the port id is in use.
    pub fn open_at(port: PortId) -> Result<Self> {
        let descriptor = socket(
            AddressFamily::Netlink,
            SockType::Raw,
            SockFlag::SOCK_CLOEXEC,
            SockProtocol::NetlinkGeneric,
        )?;
        bind(descriptor.as_raw_fd(), &NetlinkAddr::new(port.0, 0))
            .with_context(|| format!("bind to netlink port id {}", port.0))?;
        let mut socket = Self { descriptor, family: CONTROLLER, buffer: vec![0; DATAGRAM] };
        socket.family = socket.resolve()?;
        Ok(socket)
    }

    /// Returns the port id that the socket is bound to.
    ///
    /// # Errors
    ///
    /// The kernel returns an error.
    pub fn port_id(&self) -> Result<PortId> {
        let address: NetlinkAddr = getsockname(self.descriptor.as_raw_fd())?;
        Ok(PortId(address.pid()))
    }

    /// Sets the receive buffer to `bytes`, beyond the system's limit; the kernel doubles it.
    ///
    /// # Errors
    ///
    /// The caller lacks `CAP_NET_ADMIN`.
    pub fn set_receive_buffer(&self, bytes: usize) -> Result<()> {
        Ok(setsockopt(&self.descriptor, sockopt::RcvBufForce, &bytes)?)
    }

    /// Registers this socket for the CPUs of a list.
    ///
    /// # Errors
    ///
    /// The kernel refuses.
    pub fn register(&mut self, cpus: &str) -> Result<()> {
        self.request(REGISTER, format!("{cpus}\0").as_bytes(), true)?;
        self.acknowledged().with_context(|| format!("listen on CPU {cpus}"))
    }

    /// Removes the registration of this socket's address for the CPUs of a list, also if another
    /// socket made it. The kernel has removed it when this returns.
    ///
    /// # Errors
    ///
    /// The request cannot be sent.
    pub fn deregister(&self, cpus: &str) -> Result<()> {
        self.request(DEREGISTER, format!("{cpus}\0").as_bytes(), false)
    }

    /// Sends a taskstats request with one attribute.
    pub(super) fn request(&self, attribute: u16, value: &[u8], acknowledge: bool) -> Result<()> {
        let family = self.family;
        self.send(&Request { family, command: TASKSTATS_GET, attribute, value, acknowledge })
    }

    /// Waits for one datagram.
    pub(super) fn receive(&mut self) -> Result<&[u8]> {
        let length = recv(self.descriptor.as_raw_fd(), &mut self.buffer, MsgFlags::empty())?;
        self.buffer.get(..length).context("datagram longer than its buffer")
    }

    /// Receives one datagram if there is one.
    ///
    /// # Errors
    ///
    /// The kernel dropped messages (`ENOBUFS`), or the socket failed.
    pub fn try_receive(&mut self) -> Result<Option<&[u8]>> {
        let flags = MsgFlags::MSG_DONTWAIT;
        match recv(self.descriptor.as_raw_fd(), &mut self.buffer, flags) {
            Ok(length) => Ok(self.buffer.get(..length)),
            Err(Errno::EAGAIN) => Ok(None),
            Err(error) => Err(error).context("receive from netlink"),
        }
    }

    /// Waits for the acknowledgement of a request.
    fn acknowledged(&mut self) -> Result<()> {
        loop {
            match Message::decode(self.receive()?)?.errno()? {
                Some(0) => return Ok(()),
                Some(errno) => bail!("the kernel refused: {}", Errno::from_raw(errno)),
                // An exit that precedes the acknowledgement happened before listening began.
                None => {}
            }
        }
    }

    fn resolve(&mut self) -> Result<u16> {
        self.send(&Request {
            family: CONTROLLER,
            command: GET_FAMILY,
            attribute: FAMILY_NAME,
            value: b"TASKSTATS\0",
            acknowledge: false,
        })?;
        let response = Message::decode(self.receive()?)?;
        if let Some(errno) = response.errno()? {
            bail!("the kernel has no taskstats: {}", Errno::from_raw(errno));
        }
        let id = find(&response.attributes()?, FAMILY_ID).context("family without id")?;
        read_u16(id.value, 0)
    }

    fn send(&self, request: &Request<'_>) -> Result<()> {
        send(self.descriptor.as_raw_fd(), &request.encode()?, MsgFlags::empty())?;
        Ok(())
    }
}
