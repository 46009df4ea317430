//! Questions about live tasks.

use std::sync::{Mutex, PoisonError};

use super::failed;
use crate::netlink::{NumberRequest, Socket};
use crate::taskstats::reply::{QUERY, stats_in_reply};
use crate::taskstats::wire::TaskstatsCommand;
use crate::taskstats::{KernelError, Stats, TaskId};

/// Questions sent in one datagram. Their replies wait in a receive buffer of the default size, which
/// holds more than a hundred.
const PIPELINED: usize = 64;
/// Room for a reply: several times the longest known record, so that a later one fits too.
const REPLY_BYTES: usize = 4096;
/// Sockets kept for the next question; more are opened while more questions run at once.
const IDLE_SOCKETS: usize = 4;

/// Sockets that wait for a question; each serves one caller at a time.
#[derive(Debug, Default)]
pub(super) struct QuerySockets {
    idle: Mutex<Vec<QuerySocket>>,
}

#[derive(Debug)]
struct QuerySocket {
    socket: Socket,
    pid_request: NumberRequest,
    tgid_request: NumberRequest,
    /// Number of the last request.
    sequence: u32,
    reply: Box<[u8; REPLY_BYTES]>,
}

impl QuerySockets {
    /// Asks for one account.
    pub(super) fn one(&self, family: u16, id: TaskId) -> Result<Stats, KernelError> {
        self.with_socket(family, |socket| {
            socket.ask(&[id])?;
            let length = socket.receive()?;
            Ok(socket.account(length, id))
        })?
    }

    /// Asks for many accounts, in order.
    pub(super) fn many(
        &self,
        family: u16,
        ids: &[TaskId],
    ) -> Result<Vec<Result<Stats, KernelError>>, KernelError> {
        self.with_socket(family, |socket| {
            let mut accounts = Vec::with_capacity(ids.len());
            for ids in ids.chunks(PIPELINED) {
                socket.ask(ids)?;
                for id in ids {
                    let length = socket.receive()?;
                    accounts.push(match socket.account(length, *id) {
                        Err(error) if !matches!(error, KernelError::NoSuchTask(_)) => {
                            return Err(error);
                        }
                        account => account,
                    });
                }
            }
            Ok(accounts)
        })
    }

    /// Asks for an account and returns the kernel's message, which holds it.
    pub(super) fn reply(&self, family: u16, id: TaskId) -> Result<Vec<u8>, KernelError> {
        self.with_socket(family, |socket| {
            socket.ask(&[id])?;
            let length = socket.receive()?;
            socket.account(length, id).map(|_| socket.reply[..length].to_vec())
        })
    }

    /// Runs `questions` on a socket of its own. A socket that failed may still hold replies, so it
    /// is closed; one that did not is kept for the next caller.
    fn with_socket<T>(
        &self,
        family: u16,
        questions: impl FnOnce(&mut QuerySocket) -> Result<T, KernelError>,
    ) -> Result<T, KernelError> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut socket = idle.map_or_else(|| QuerySocket::open(family), Ok)?;
        let answer = questions(&mut socket)?;
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < IDLE_SOCKETS {
            idle.push(socket);
        }
        Ok(answer)
    }
}

impl QuerySocket {
    fn open(family: u16) -> Result<Self, KernelError> {
        let socket = Socket::open().map_err(|source| failed("socket(AF_NETLINK)", source))?;
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

    /// Sends one datagram with a request for each id. The kernel has answered them all, in order,
    /// when this returns.
    fn ask(&mut self, ids: &[TaskId]) -> Result<(), KernelError> {
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

    fn account(&self, length: usize, id: TaskId) -> Result<Stats, KernelError> {
        stats_in_reply(&self.reply[..length], id)
    }
}
