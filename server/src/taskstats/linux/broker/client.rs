//! The agent's side: has the broker make requests.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};

use super::super::privileged::{AdoptedFilter, ExitSocket, Privileged, ReplySink};
use super::protocol::{
    Channel, Datagram, MAX_IDS, Request, get_outcome, get_reply, get_socket, put_query,
};
use crate::netlink::Socket;
use crate::taskstats::reply::failed;
use crate::taskstats::{KernelError, TaskId};

/// The name of a request to the broker in errors.
const BROKER: &str = "a request to the broker";

/// Has the broker make requests, one at a time.
#[derive(Debug)]
pub(in super::super) struct Client {
    channel: Mutex<Channel>,
}

impl Client {
    pub(super) fn new(channel: Channel) -> Self {
        Self { channel: Mutex::new(channel) }
    }

    fn channel(&self) -> MutexGuard<'_, Channel> {
        self.channel.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Sends a request and waits for its response.
fn exchange<'a>(
    channel: &'a mut Channel,
    request: &[u8],
    socket: Option<BorrowedFd<'_>>,
) -> Result<Datagram<'a>, KernelError> {
    let failed = |source| failed(BROKER, source);
    channel.send(request, socket).map_err(failed)?;
    let mut response = channel.receive_soon().map_err(failed)?;
    get_outcome(&mut response.bytes).ok_or_else(malformed)??;
    Ok(response)
}

fn malformed() -> KernelError {
    failed(BROKER, io::ErrorKind::InvalidData.into())
}

impl Privileged for Client {
    fn query(&self, ids: &[TaskId], each: ReplySink<'_>) -> Result<(), KernelError> {
        let mut request = Vec::new();
        for ids in ids.chunks(MAX_IDS) {
            request.clear();
            put_query(&mut request, ids);
            let mut channel = self.channel();
            let mut replies = exchange(&mut channel, &request, None)?.bytes;
            for id in ids {
                each(*id, get_reply(&mut replies).ok_or_else(malformed)?)?;
            }
        }
        Ok(())
    }

    fn is_remote(&self) -> bool {
        true
    }

    fn is_free(&self) -> bool {
        !matches!(self.channel.try_lock(), Err(TryLockError::WouldBlock))
    }

    fn open(&self, cpu: u32) -> Result<ExitSocket, KernelError> {
        let mut channel = self.channel();
        let response = exchange(&mut channel, &Request::Open(cpu).encode(), None)?;
        let Datagram { mut bytes, descriptor } = response;
        let (receive_buffer, filter) = get_socket(&mut bytes).ok_or_else(malformed)?;
        let socket = Socket::adopt(descriptor.ok_or_else(malformed)?);
        let socket = socket.map_err(|source| failed(BROKER, source))?;
        Ok(ExitSocket { socket, receive_buffer, filter })
    }

    fn adopt(
        &self,
        cpu: u32,
        socket: Socket,
        filter: AdoptedFilter,
    ) -> Result<ExitSocket, KernelError> {
        let mut channel = self.channel();
        let request = Request::Adopt(cpu, filter).encode();
        let mut bytes = exchange(&mut channel, &request, Some(socket.as_fd()))?.bytes;
        let (receive_buffer, filter) = get_socket(&mut bytes).ok_or_else(malformed)?;
        Ok(ExitSocket { socket, receive_buffer, filter })
    }

    fn deregister(&self, cpu: u32, socket: &Socket) -> Result<(), KernelError> {
        let request = Request::Deregister(cpu).encode();
        exchange(&mut self.channel(), &request, Some(socket.as_fd())).map(drop)
    }
}
