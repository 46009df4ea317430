//! The requests to taskstats that need `CAP_NET_ADMIN`, and making them in this process.

use std::fmt;
use std::os::fd::BorrowedFd;
use std::sync::{Arc, OnceLock};

use super::query::QuerySockets;
use crate::bpf::FilterSet;
use crate::netlink::{MessageKind, Messages, Socket, resolve_family};
use crate::taskstats::reply::{
    FIND_FAMILY, OPEN_SOCKET, RECEIVE_BUFFER, REGISTER, failed, refused,
};
use crate::taskstats::wire::{FAMILY, TaskstatsCommand};
use crate::taskstats::{Cpumask, KernelError, Namespace, TaskId};

/// The size of the buffer for the reply to a registration, which repeats the request after a
/// header.
const REPLY_BYTES: usize = 64 * 1024;

/// Receives the kernel's reply for a task.
pub(super) type ReplySink<'a> = &'a mut dyn FnMut(TaskId, &[u8]) -> Result<(), KernelError>;

/// Makes the requests that need `CAP_NET_ADMIN`: here, or in a process that has it.
pub(super) trait Privileged: fmt::Debug + Send + Sync {
    /// Queries tasks and groups, and passes the kernel's reply for each to `each`, in order. An error
    /// of `each` ends the queries.
    ///
    /// # Errors
    /// The error of `each`, or of the system calls. A task that does not exist is no error here, but a
    /// reply.
    fn query(&self, ids: &[TaskId], each: ReplySink<'_>) -> Result<(), KernelError>;

    /// Returns true if another process makes the requests.
    fn is_remote(&self) -> bool {
        false
    }

    /// Returns false while a query would wait for that of another thread.
    fn is_free(&self) -> bool {
        true
    }

    /// Opens a socket that is registered on a CPU, with the filter of the CPU attached.
    ///
    /// # Errors
    /// The error of the kernel. No registration remains.
    fn open(&self, cpu: u32) -> Result<ExitSocket, KernelError>;

    /// Sets up a socket that an earlier listener registered on a CPU.
    ///
    /// # Errors
    /// The error of the system calls.
    fn adopt(
        &self,
        cpu: u32,
        socket: Socket,
        filter: AdoptedFilter,
    ) -> Result<ExitSocket, KernelError>;

    /// Ends the registration of a socket.
    ///
    /// # Errors
    /// The error of the system call.
    fn deregister(&self, cpu: u32, socket: &Socket) -> Result<(), KernelError>;
}

/// A socket that receives the exits of a CPU.
#[derive(Debug)]
pub(super) struct ExitSocket {
    pub(super) socket: Socket,
    /// The size that the kernel granted to the receive buffer, in bytes.
    pub(super) receive_buffer: usize,
    pub(super) filter: FilterState,
}

/// The filter of a socket that an earlier listener registered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AdoptedFilter {
    /// The earlier one stays.
    Stays,
    /// It is replaced by this run's, if there is one.
    Replaced,
}

/// The filter of a socket, which attributes its exits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FilterState {
    /// There is no filter for the CPU.
    Absent,
    /// It is attached.
    Attached,
    /// The kernel refused to attach it, with this error number.
    Refused(i32),
}

/// Makes the requests in this process.
#[derive(Debug)]
pub(super) struct Direct {
    /// The family's id, once it is known. It does not change until the next boot.
    family: OnceLock<u16>,
    queries: QuerySockets,
    /// The list of all possible CPUs.
    possible: String,
    receive_buffer: usize,
    filters: Option<Arc<FilterSet>>,
}

/// Returns the id of the generic netlink family of taskstats.
pub(super) fn find_family() -> Result<u16, KernelError> {
    resolve_family(FAMILY).map_err(|source| match source.raw_os_error() {
        Some(libc::ENOENT) => KernelError::NoFamily,
        _ => failed(FIND_FAMILY, source),
    })
}

impl Direct {
    pub(super) fn new(
        possible: &Cpumask,
        receive_buffer: usize,
        filters: Option<Arc<FilterSet>>,
    ) -> Self {
        Self {
            family: OnceLock::new(),
            queries: QuerySockets::default(),
            possible: possible.to_string(),
            receive_buffer,
            filters,
        }
    }

    /// The programs of the filters.
    pub(super) fn programs(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.filters.iter().flat_map(|filters| filters.programs())
    }

    fn family(&self) -> Result<u16, KernelError> {
        match self.family.get() {
            Some(family) => Ok(*family),
            None => find_family().map(|family| *self.family.get_or_init(|| family)),
        }
    }

    /// Returns the size that the kernel granted, in bytes.
    fn set_receive_buffer(&self, socket: &Socket) -> Result<usize, KernelError> {
        let granted = socket.set_receive_buffer(self.receive_buffer);
        granted.map_err(|source| failed(RECEIVE_BUFFER, source))
    }

    /// Sets the size of the receive buffer and attaches the filter, before a registration, so that no
    /// message passes without it.
    fn set_up(&self, cpu: u32, socket: Socket) -> Result<ExitSocket, KernelError> {
        let receive_buffer = self.set_receive_buffer(&socket)?;
        let filter = match self.filters.as_ref().and_then(|filters| filters.of_cpu(cpu)) {
            None => FilterState::Absent,
            Some(filter) => match filter.attach(&socket) {
                Ok(()) => FilterState::Attached,
                Err(error) => FilterState::Refused(error.raw_os_error().unwrap_or(libc::EIO)),
            },
        };
        Ok(ExitSocket { socket, receive_buffer, filter })
    }

    /// Registers a socket that is not polled yet, so that the acknowledgement is received here.
    fn register(&self, cpu: u32, socket: &Socket) -> Result<(), KernelError> {
        // A listener that died without deregistering stays in the kernel's lists until the next
        // exit, and a socket with the same port id inherits its registrations
        // (`kernel/taskstats.c`). Such a socket would receive exits of other CPUs.
        self.command(socket, TaskstatsCommand::Deregister(&self.possible))?;
        self.command(socket, TaskstatsCommand::Register(&cpu.to_string()))
    }

    /// Sends a command and waits for its acknowledgement. Exits received before it belong to an
    /// inherited registration and are ignored.
    fn command(&self, socket: &Socket, command: TaskstatsCommand<'_>) -> Result<(), KernelError> {
        const SEQUENCE: u32 = 1;
        let io_failed = |source| failed(REGISTER, source);
        let request =
            command.request(self.family()?, SEQUENCE, true).encode().map_err(io_failed)?;
        socket.send(&request).map_err(io_failed)?;
        let mut reply = vec![0; REPLY_BYTES];
        loop {
            let length = socket.receive_now(&mut reply).map_err(io_failed)?;
            for message in Messages::new(&reply[..length]) {
                match message.kind() {
                    MessageKind::Acknowledgement => return Ok(()),
                    // The list is valid, so the kernel refused the namespace of the sender
                    // (`add_del_listener` in `kernel/taskstats.c`).
                    MessageKind::Error(libc::EINVAL) => {
                        return Err(KernelError::WrongNamespace { namespace: Namespace::Pid });
                    }
                    MessageKind::Error(errno) => return Err(refused(REGISTER, errno)),
                    MessageKind::Generic { .. } | MessageKind::Malformed => {}
                }
            }
        }
    }
}

impl Privileged for Direct {
    fn query(&self, ids: &[TaskId], each: ReplySink<'_>) -> Result<(), KernelError> {
        self.queries.query(self.family()?, ids, each)
    }

    fn open(&self, cpu: u32) -> Result<ExitSocket, KernelError> {
        let socket = Socket::open().map_err(|source| failed(OPEN_SOCKET, source))?;
        let opened = self.set_up(cpu, socket)?;
        self.register(cpu, &opened.socket)?;
        Ok(opened)
    }

    fn adopt(
        &self,
        cpu: u32,
        socket: Socket,
        filter: AdoptedFilter,
    ) -> Result<ExitSocket, KernelError> {
        match filter {
            AdoptedFilter::Stays => {
                let receive_buffer = self.set_receive_buffer(&socket)?;
                Ok(ExitSocket { socket, receive_buffer, filter: FilterState::Attached })
            }
            AdoptedFilter::Replaced => self.set_up(cpu, socket),
        }
    }

    fn deregister(&self, cpu: u32, socket: &Socket) -> Result<(), KernelError> {
        // No acknowledgement is requested: if the queue is full, the kernel would drop it and count
        // it among the dropped exits.
        let list = cpu.to_string();
        let request = TaskstatsCommand::Deregister(&list).request(self.family()?, 1, false);
        let sent = request.encode().and_then(|request| socket.send(&request));
        sent.map_err(|source| failed(REGISTER, source))
    }
}
