//! As much generic netlink as a listener needs that only counts.

use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use anyhow::{Context, Result, bail, ensure};
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recv, sendto,
    setsockopt, socket, sockopt,
};

/// A socket that receives the exits of some CPUs.
#[derive(Debug)]
pub(crate) struct ExitSocket {
    fd: OwnedFd,
    family: u16,
    cpumask: String,
}

/// The content of one datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Message<'a> {
    /// The type in its header: a family, or one of netlink itself.
    kind: u16,
    payload: &'a [u8],
}

/// The kernel grants twice this; the agent's default is the same.
const RECEIVE_BUFFER_BYTES: usize = 16 << 20;
/// Replies to requests are far shorter.
const ANSWER_BYTES: usize = 16 << 10;

// include/uapi/linux/netlink.h
const HEADER_BYTES: usize = 16;
const ATTRIBUTE_HEADER_BYTES: usize = 4;
const ALIGNMENT: usize = 4;
const NLMSG_ERROR: u16 = 2;
const NLM_F_REQUEST: u16 = 1;
const NLM_F_ACK: u16 = 4;
const NLA_TYPE_MASK: u16 = 0x3fff;

// include/uapi/linux/genetlink.h
const GENERIC_HEADER_BYTES: usize = 4;
const GENL_ID_CTRL: u16 = 16;
const CTRL_CMD_GETFAMILY: u8 = 3;
const CTRL_ATTR_FAMILY_ID: u16 = 1;
const CTRL_ATTR_FAMILY_NAME: u16 = 2;

// include/uapi/linux/taskstats.h
const FAMILY_NAME: &str = "TASKSTATS";
const TASKSTATS_CMD_GET: u8 = 1;
const REGISTER_CPUMASK: u16 = 3;
const DEREGISTER_CPUMASK: u16 = 4;
const TYPE_STATS: u16 = 3;
const TYPE_AGGR_PID: u16 = 4;
const COMM_OFFSET: usize = 80;
const COMM_BYTES: usize = 32;

impl ExitSocket {
    /// Registers a new socket for the exits on the CPUs of a kernel list.
    pub(crate) fn register(cpumask: String) -> Result<Self> {
        let (kind, protocol) = (SockType::Raw, SockProtocol::NetlinkGeneric);
        let fd = socket(AddressFamily::Netlink, kind, SockFlag::SOCK_CLOEXEC, protocol)
            .context("open a netlink socket")?;
        setsockopt(&fd, sockopt::RcvBufForce, &RECEIVE_BUFFER_BYTES)
            .context("enlarge the receive buffer")?;
        let family = resolve(&fd)?;
        let listener = Self { fd, family, cpumask };
        listener.send_mask(REGISTER_CPUMASK)?;
        listener.await_acknowledgement()?;
        Ok(listener)
    }

    /// Removes the registration. The kernel has done so when this returns; the acknowledgement,
    /// which queues behind exits, is not awaited.
    pub(crate) fn deregister(&self) -> Result<()> {
        self.send_mask(DEREGISTER_CPUMASK)
    }

    /// The descriptor to receive from.
    pub(crate) fn descriptor(&self) -> RawFd {
        self.fd.as_raw_fd()
    }

    /// True if a datagram reports an exit.
    pub(crate) fn is_exit(&self, datagram: &[u8]) -> bool {
        Message::parse(datagram).is_some_and(|message| message.kind == self.family)
    }

    fn send_mask(&self, attribute: u16) -> Result<()> {
        send(&self.fd, self.family, TASKSTATS_CMD_GET, attribute, &self.cpumask)
    }

    fn await_acknowledgement(&self) -> Result<()> {
        loop {
            let mut response = [0; ANSWER_BYTES];
            let length = recv(self.descriptor(), &mut response, MsgFlags::empty())?;
            let message = Message::parse(&response[..length]).context("a malformed reply")?;
            if message.kind == NLMSG_ERROR {
                return message.acknowledged().context("register for exits");
            }
        }
    }
}

impl<'a> Message<'a> {
    fn parse(datagram: &'a [u8]) -> Option<Self> {
        let kind = u16::from_ne_bytes(*datagram.get(4..)?.first_chunk()?);
        Some(Self { kind, payload: datagram.get(HEADER_BYTES..)? })
    }

    /// Distinguishes an acknowledgement from an error: both have the same type, and differ in the
    /// errno.
    fn acknowledged(self) -> Result<()> {
        let code = self.payload.first_chunk().context("a malformed reply")?;
        match i32::from_ne_bytes(*code) {
            0 => Ok(()),
            errno => Err(Errno::from_raw(-errno).into()),
        }
    }
}

/// Returns the command name, NUL-padded, of the task in a datagram.
pub(crate) fn comm(datagram: &[u8]) -> Option<&[u8]> {
    let attributes = datagram.get(HEADER_BYTES + GENERIC_HEADER_BYTES..)?;
    let stats = attribute(attribute(attributes, TYPE_AGGR_PID)?, TYPE_STATS)?;
    stats.get(COMM_OFFSET..COMM_OFFSET + COMM_BYTES)
}

/// Returns the value of the first attribute of a type.
fn attribute(mut attributes: &[u8], kind: u16) -> Option<&[u8]> {
    loop {
        let length = usize::from(u16::from_ne_bytes(*attributes.first_chunk()?));
        let found = u16::from_ne_bytes(*attributes.get(2..)?.first_chunk()?);
        if found & NLA_TYPE_MASK == kind {
            return attributes.get(ATTRIBUTE_HEADER_BYTES..length);
        }
        let step = length.max(ATTRIBUTE_HEADER_BYTES).next_multiple_of(ALIGNMENT);
        attributes = attributes.get(step..)?;
    }
}

/// Queries the kernel for the id of the taskstats family.
fn resolve(fd: &OwnedFd) -> Result<u16> {
    send(fd, GENL_ID_CTRL, CTRL_CMD_GETFAMILY, CTRL_ATTR_FAMILY_NAME, FAMILY_NAME)?;
    let mut family = None;
    loop {
        let mut response = [0; ANSWER_BYTES];
        let length = recv(fd.as_raw_fd(), &mut response, MsgFlags::empty())?;
        let message = Message::parse(&response[..length]).context("a malformed reply")?;
        if message.kind == NLMSG_ERROR {
            message.acknowledged().context("find the taskstats family")?;
            return family.context("the kernel did not name the taskstats family");
        }
        let attributes = message.payload.get(GENERIC_HEADER_BYTES..).unwrap_or_default();
        family = attribute(attributes, CTRL_ATTR_FAMILY_ID)
            .and_then(<[u8]>::first_chunk)
            .map(|id| u16::from_ne_bytes(*id));
    }
}

/// Sends a request with one attribute, a NUL-terminated string.
fn send(fd: &OwnedFd, family: u16, command: u8, kind: u16, text: &str) -> Result<()> {
    let attribute_bytes = ATTRIBUTE_HEADER_BYTES + text.len() + 1;
    let total = HEADER_BYTES + GENERIC_HEADER_BYTES + attribute_bytes;
    let total = total.next_multiple_of(ALIGNMENT);
    ensure!(!text.contains('\0'), "a NUL in {text:?}");
    let mut request = Vec::with_capacity(total);
    request.extend(u32::try_from(total)?.to_ne_bytes());
    request.extend(family.to_ne_bytes());
    request.extend((NLM_F_REQUEST | NLM_F_ACK).to_ne_bytes());
    request.resize(HEADER_BYTES, 0);
    request.extend([command, 1, 0, 0]);
    request.extend(u16::try_from(attribute_bytes)?.to_ne_bytes());
    request.extend(kind.to_ne_bytes());
    request.extend(text.as_bytes());
    request.resize(total, 0);
    let kernel = NetlinkAddr::new(0, 0);
    match sendto(fd.as_raw_fd(), &request, &kernel, MsgFlags::empty())? {
        sent if sent == total => Ok(()),
        sent => bail!("the kernel took {sent} of {total} bytes"),
    }
}
