//! Queries for live tasks and groups.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use super::privileged::ReplySink;
use crate::netlink::{NumberRequest, Socket};
use crate::taskstats::reply::{OPEN_SOCKET, QUERY, failed};
use crate::taskstats::wire::TaskstatsCommand;
use crate::taskstats::{KernelError, TaskId};

/// Queries sent in one datagram. Their replies are queued in a receive buffer of the default size,
/// which fits more than a hundred.
const PIPELINED: usize = 64;
/// The size of the reply buffer: several times the longest known record, so that longer ones fit
/// too.
pub(super) const REPLY_BYTES: usize = 4096;
/// Sockets kept open for later queries. Concurrent queries open more.
const IDLE_SOCKETS: usize = 4;

/// A pool of sockets. Each serves one caller at a time.
#[derive(Debug, Default)]
pub(super) struct QuerySockets {
    pool: Mutex<Pool>,
    /// Notified when a leased socket is returned or closed.
    returned: Condvar,
}

#[derive(Debug, Default)]
struct Pool {
    idle: Vec<QuerySocket>,
    /// Sockets in use.
    leased: usize,
}

/// A socket in use. Dropping the lease closes the socket, unless it was returned to the pool.
struct Lease<'a> {
    sockets: &'a QuerySockets,
    socket: Option<QuerySocket>,
}

#[derive(Debug)]
struct QuerySocket {
    socket: Socket,
    pid_request: NumberRequest,
    tgid_request: NumberRequest,
    /// The sequence number of the last request.
    sequence: u32,
    reply: Box<[u8; REPLY_BYTES]>,
}

impl QuerySockets {
    /// Queries tasks and groups, and passes the kernel's reply for each to `each`, in order.
    pub(super) fn query(
        &self,
        family: u16,
        ids: &[TaskId],
        each: ReplySink<'_>,
    ) -> Result<(), KernelError> {
        self.with_socket(family, |socket| {
            for ids in ids.chunks(PIPELINED) {
                socket.send(ids)?;
                for id in ids {
                    let length = socket.receive()?;
                    each(*id, &socket.reply[..length])?;
                }
            }
            Ok(())
        })
    }

    /// Runs `queries` on a socket that no other caller uses. A socket is closed after a failure,
    /// because replies may still be queued in it; otherwise it is kept for the next caller.
    fn with_socket(
        &self,
        family: u16,
        queries: impl FnOnce(&mut QuerySocket) -> Result<(), KernelError>,
    ) -> Result<(), KernelError> {
        let (mut lease, mut socket) = self.lease(family)?;
        queries(&mut socket)?;
        lease.socket = Some(socket);
        Ok(())
    }

    /// Returns an idle socket, or opens one. Without a descriptor for one, it waits for a socket of
    /// another caller: a query lasts microseconds, and lacking descriptors should not fail it.
    fn lease(&self, family: u16) -> Result<(Lease<'_>, QuerySocket), KernelError> {
        let mut pool = self.pool();
        let socket = loop {
            if let Some(socket) = pool.idle.pop() {
                break socket;
            }
            match QuerySocket::open(family) {
                Ok(socket) => break socket,
                Err(error) if error.is_exhaustion() && pool.leased > 0 => {
                    pool = self.returned.wait(pool).unwrap_or_else(PoisonError::into_inner);
                }
                Err(error) => return Err(error),
            }
        };
        pool.leased += 1;
        drop(pool);
        Ok((Lease { sockets: self, socket: None }, socket))
    }

    fn pool(&self) -> MutexGuard<'_, Pool> {
        self.pool.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        let mut pool = self.sockets.pool();
        pool.leased -= 1;
        if pool.idle.len() < IDLE_SOCKETS {
            pool.idle.extend(self.socket.take());
        }
        drop(pool);
        self.sockets.returned.notify_one();
    }
}

impl QuerySocket {
    fn open(family: u16) -> Result<Self, KernelError> {
        let socket = Socket::open().map_err(|source| failed(OPEN_SOCKET, source))?;
        let template =
            |id| NumberRequest::new(&TaskstatsCommand::Query(id).request(family, 0, false));
        let invalid = |source| failed(QUERY, source);
        Ok(Self {
            socket,
            pid_request: template(TaskId::Pid(0)).map_err(invalid)?,
            tgid_request: template(TaskId::Tgid(0)).map_err(invalid)?,
            sequence: 0,
            reply: Box::new([0; REPLY_BYTES]),
        })
    }

    /// Sends one datagram with a request for each id. When this returns, the kernel has queued all
    /// replies, in order.
    fn send(&mut self, ids: &[TaskId]) -> Result<(), KernelError> {
        let mut datagram = Vec::new();
        for id in ids {
            self.sequence = self.sequence.wrapping_add(1);
            datagram.extend_from_slice(match *id {
                TaskId::Pid(pid) => self.pid_request.with(self.sequence, pid),
                TaskId::Tgid(tgid) => self.tgid_request.with(self.sequence, tgid),
            });
        }
        self.socket.send(&datagram).map_err(|source| failed(QUERY, source))
    }

    fn receive(&mut self) -> Result<usize, KernelError> {
        self.socket.receive_now(&mut self.reply[..]).map_err(|source| failed(QUERY, source))
    }
}
