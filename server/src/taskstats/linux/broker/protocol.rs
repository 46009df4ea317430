//! The datagrams between an agent and its broker, over a `SOCK_SEQPACKET` pair.
//!
//! | datagram | content |
//! | --- | --- |
//! | start report | 0, or 1 and the reason why the broker did not start |
//! | query | 1, and for each task: 1 (pid) or 2 (tgid), and the id |
//! | open | 2, and the CPU |
//! | adopt | 3, and the CPU; with the socket |
//! | deregister | 4, and the CPU; with the socket |
//! | adopt, and leave the filter | 5, and the CPU; with the socket |
//! | response | 0 and the result, or 1 and an error |
//!
//! Integers have the machine's byte order. Both ends are the same program, so there are no versions.

use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};

use bytes::{Buf, BufMut};
use nix::cmsg_space;
use nix::errno::Errno;
use nix::sched::sched_yield;
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg};

use super::super::privileged::{AdoptedFilter, FilterState};
use super::super::query::REPLY_BYTES;
use super::syscall::own;
use crate::taskstats::reply::{FIND_FAMILY, OPEN_SOCKET, QUERY, RECEIVE_BUFFER, REGISTER, failed};
use crate::taskstats::{KernelError, Namespace, TaskId};

/// Tasks of one query.
pub(super) const MAX_IDS: usize = 32;
/// The longest datagram: the replies for all tasks of a query, each with its length.
const MAX_BYTES: usize = 1 + MAX_IDS * (2 + REPLY_BYTES);

/// The number of times that a response is looked for, each some 0.3 µs.
const LOOKS: u32 = 100;

/// The operations that can fail, by the number with which an error names them.
const OPERATIONS: [&str; 5] = [FIND_FAMILY, OPEN_SOCKET, RECEIVE_BUFFER, QUERY, REGISTER];

const OK: u8 = 0;
const FAILED: u8 = 1;

/// One end of the pair.
#[derive(Debug)]
pub(super) struct Channel {
    socket: OwnedFd,
    buffer: Box<[u8]>,
}

/// A received datagram.
#[derive(Debug)]
pub(super) struct Datagram<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) descriptor: Option<OwnedFd>,
}

impl Channel {
    pub(super) fn new(socket: OwnedFd) -> Self {
        Self { socket, buffer: vec![0; MAX_BYTES].into_boxed_slice() }
    }

    /// Sends a datagram, with a descriptor or without.
    ///
    /// # Errors
    /// The error of the system call: `EPIPE` when the other end is closed.
    pub(super) fn send(
        &mut self,
        bytes: &[u8],
        descriptor: Option<BorrowedFd<'_>>,
    ) -> io::Result<()> {
        let descriptors = descriptor.map(|descriptor| [descriptor.as_raw_fd()]);
        let rights = descriptors.as_ref().map(|it| ControlMessage::ScmRights(it));
        let (socket, vector) = (self.socket.as_raw_fd(), [IoSlice::new(bytes)]);
        loop {
            match sendmsg::<()>(socket, &vector, rights.as_slice(), MsgFlags::MSG_NOSIGNAL, None) {
                Err(Errno::EINTR) => {}
                sent => return Ok(sent.map(drop)?),
            }
        }
    }

    /// Receives a datagram, and waits for it.
    ///
    /// # Errors
    /// `UnexpectedEof` when the other end is closed; `InvalidData` for a datagram that is too long.
    pub(super) fn receive(&mut self) -> io::Result<Datagram<'_>> {
        self.receive_after(0)
    }

    /// Receives a datagram as [`Channel::receive`] does, but looks for it a few times before it waits: a
    /// thread that sleeps and is woken is slower than the broker.
    pub(super) fn receive_soon(&mut self) -> io::Result<Datagram<'_>> {
        self.receive_after(LOOKS)
    }

    fn receive_after(&mut self, looks: u32) -> io::Result<Datagram<'_>> {
        let socket = self.socket.as_raw_fd();
        let mut left = looks;
        let (length, flags, mut descriptors) = loop {
            let now = if left > 0 { MsgFlags::MSG_DONTWAIT } else { MsgFlags::empty() };
            match receive(socket, &mut self.buffer, now) {
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) if left > 0 => {
                    left -= 1;
                    sched_yield()?;
                }
                received => break received?,
            }
        };
        if length == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if flags.intersects(MsgFlags::MSG_TRUNC | MsgFlags::MSG_CTRUNC) {
            return Err(io::ErrorKind::InvalidData.into());
        }
        Ok(Datagram { bytes: &self.buffer[..length], descriptor: descriptors.pop() })
    }
}

/// Receives a datagram, and returns its length, flags, and the descriptors that came with it.
fn receive(
    socket: RawFd,
    buffer: &mut [u8],
    flags: MsgFlags,
) -> nix::Result<(usize, MsgFlags, Vec<OwnedFd>)> {
    let mut control = cmsg_space!(RawFd);
    let mut vector = [IoSliceMut::new(buffer)];
    let flags = flags | MsgFlags::MSG_CMSG_CLOEXEC;
    let received = recvmsg::<()>(socket, &mut vector, Some(&mut control), flags)?;
    let rights = received.cmsgs()?.filter_map(|message| match message {
        ControlMessageOwned::ScmRights(descriptors) => Some(descriptors),
        _ => None,
    });
    let descriptors = own(rights.flatten());
    Ok((received.bytes, received.flags, descriptors))
}

/// The first datagram of a broker.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum StartReport {
    /// The broker waits for requests.
    Started,
    /// The broker could not be confined, for this reason.
    Refused(String),
}

impl StartReport {
    pub(super) fn encode(&self) -> Vec<u8> {
        match self {
            Self::Started => vec![OK],
            Self::Refused(error) => [&[FAILED], error.as_bytes()].concat(),
        }
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        match bytes.split_first()? {
            (&OK, _) => Some(Self::Started),
            (_, error) => Some(Self::Refused(String::from_utf8_lossy(error).into_owned())),
        }
    }
}

/// A request. The socket that belongs to some of them is beside its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Request {
    Query(Vec<TaskId>),
    Open(u32),
    Adopt(u32, AdoptedFilter),
    Deregister(u32),
}

/// Appends a query, whose tasks are at most [`MAX_IDS`].
pub(super) fn put_query(bytes: &mut Vec<u8>, ids: &[TaskId]) {
    bytes.put_u8(1);
    for id in ids {
        let (kind, id) = match *id {
            TaskId::Pid(id) => (1, id),
            TaskId::Tgid(id) => (2, id),
        };
        bytes.put_u8(kind);
        bytes.put_u32_ne(id);
    }
}

impl Request {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut with_cpu = |kind, cpu| {
            bytes.put_u8(kind);
            bytes.put_u32_ne(cpu);
        };
        match self {
            Self::Query(ids) => put_query(&mut bytes, ids),
            Self::Open(cpu) => with_cpu(2, *cpu),
            Self::Adopt(cpu, AdoptedFilter::Replaced) => with_cpu(3, *cpu),
            Self::Adopt(cpu, AdoptedFilter::Stays) => with_cpu(5, *cpu),
            Self::Deregister(cpu) => with_cpu(4, *cpu),
        }
        bytes
    }

    /// Decodes a request; `None` if it is malformed.
    pub(super) fn decode(mut bytes: &[u8]) -> Option<Self> {
        let kind = bytes.try_get_u8().ok()?;
        if kind == 1 {
            return get_ids(bytes).map(Self::Query);
        }
        let cpu = bytes.try_get_u32_ne().ok().filter(|_| bytes.is_empty())?;
        match kind {
            2 => Some(Self::Open(cpu)),
            3 => Some(Self::Adopt(cpu, AdoptedFilter::Replaced)),
            5 => Some(Self::Adopt(cpu, AdoptedFilter::Stays)),
            4 => Some(Self::Deregister(cpu)),
            _ => None,
        }
    }
}

fn get_ids(mut bytes: &[u8]) -> Option<Vec<TaskId>> {
    let mut ids = Vec::new();
    while !bytes.is_empty() {
        let kind = bytes.try_get_u8().ok()?;
        let id = bytes.try_get_u32_ne().ok()?;
        ids.push(match kind {
            1 => TaskId::Pid(id),
            2 => TaskId::Tgid(id),
            _ => return None,
        });
    }
    (ids.len() <= MAX_IDS).then_some(ids)
}

/// Begins the response to a request that succeeds.
pub(super) fn put_success(bytes: &mut Vec<u8>) {
    bytes.put_u8(OK);
}

/// Appends the kernel's reply for one task.
pub(super) fn put_reply(bytes: &mut Vec<u8>, reply: &[u8]) {
    bytes.put_u16_ne(u16::try_from(reply.len()).unwrap_or(u16::MAX));
    bytes.put_slice(reply);
}

/// Returns the next of the kernel's replies.
pub(super) fn get_reply<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = bytes.try_get_u16_ne().ok()?;
    bytes.split_off(..usize::from(length))
}

/// Appends the size of a socket's receive buffer, and the state of its filter.
pub(super) fn put_socket(bytes: &mut Vec<u8>, receive_buffer: usize, filter: FilterState) {
    bytes.put_u64_ne(receive_buffer as u64);
    let (state, errno) = match filter {
        FilterState::Absent => (0, 0),
        FilterState::Attached => (1, 0),
        FilterState::Refused(errno) => (2, errno),
    };
    bytes.put_u8(state);
    bytes.put_i32_ne(errno);
}

/// Reads what [`put_socket`] appended.
pub(super) fn get_socket(bytes: &mut &[u8]) -> Option<(usize, FilterState)> {
    let receive_buffer = usize::try_from(bytes.try_get_u64_ne().ok()?).ok()?;
    let (state, errno) = (bytes.try_get_u8().ok()?, bytes.try_get_i32_ne().ok()?);
    let filter = match state {
        0 => FilterState::Absent,
        1 => FilterState::Attached,
        _ => FilterState::Refused(errno),
    };
    Some((receive_buffer, filter))
}

/// Appends the response to a request that failed.
pub(super) fn put_error(bytes: &mut Vec<u8>, error: &KernelError) {
    let known = |operation: &str| OPERATIONS.iter().position(|known| *known == operation);
    let (kind, operation, errno) = match error {
        KernelError::NoFamily => (1, 0, 0),
        KernelError::WrongNamespace { .. } => (2, 0, 0),
        KernelError::NotPermitted { operation } => (3, known(operation).unwrap_or(0), 0),
        KernelError::System { operation, source } => {
            (4, known(operation).unwrap_or(0), source.raw_os_error().unwrap_or(libc::EIO))
        }
        // No other one is made by `Direct`.
        _ => (4, 0, libc::EIO),
    };
    bytes.put_u8(FAILED);
    bytes.put_u8(kind);
    bytes.put_u8(u8::try_from(operation).unwrap_or(0));
    bytes.put_i32_ne(errno);
}

/// Reads the begin of a response, and returns the error of one that failed.
pub(super) fn get_outcome(bytes: &mut &[u8]) -> Option<Result<(), KernelError>> {
    if bytes.try_get_u8().ok()? == OK {
        return Some(Ok(()));
    }
    let (kind, operation) = (bytes.try_get_u8().ok()?, bytes.try_get_u8().ok()?);
    let operation = *OPERATIONS.get(usize::from(operation))?;
    let errno = bytes.try_get_i32_ne().ok()?;
    Some(Err(match kind {
        1 => KernelError::NoFamily,
        2 => KernelError::WrongNamespace { namespace: Namespace::Pid },
        3 => KernelError::NotPermitted { operation },
        _ => failed(operation, io::Error::from_raw_os_error(errno)),
    }))
}
