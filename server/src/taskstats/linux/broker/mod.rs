//! The broker: a process that holds `CAP_NET_ADMIN` in place of the agent, so that the process that
//! parses what callers send has no capability.
//!
//! It is forked before the agent starts a thread. It makes the requests of [`super::privileged`] and
//! nothing else, one at a time, and ends with the agent.

mod client;
mod protocol;
mod server;
mod syscall;

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::fcntl::OFlag;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use nix::unistd::pipe2;

pub(super) use self::client::Client;
use self::protocol::{Channel, StartReport};
use self::syscall::fork;
use super::privileged::Direct;
use crate::taskstats::BrokerError;

/// Starts a broker that makes the requests of `direct`, after `confine` has restricted it. The process
/// must have no other thread.
///
/// Returns its client, and the end of a pipe that reads as closed when the broker has ended.
pub(super) fn start(
    direct: &Direct,
    confine: impl FnOnce() -> Result<(), String>,
) -> Result<(Client, OwnedFd), BrokerError> {
    let failed = |operation| move |errno: nix::Error| BrokerError::system(operation, errno.into());
    let (ours, theirs) =
        socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)
            .map_err(failed("socketpair(AF_UNIX)"))?;
    let (ended, alive) = pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK).map_err(failed("pipe2"))?;
    let programs = direct.programs().map(|program| program.as_raw_fd());
    let kept: Vec<_> = programs.chain([theirs.as_raw_fd(), alive.as_raw_fd()]).collect();
    let mut channel = Channel::new(theirs);
    let serve = || match confine() {
        Ok(()) => {
            if channel.send(&StartReport::Started.encode(), None).is_ok() {
                server::serve(&mut channel, direct);
            }
        }
        Err(error) => drop(channel.send(&StartReport::Refused(error).encode(), None)),
    };
    fork(&kept, serve).map_err(|source| BrokerError::system("fork", source))?;
    // The broker's ends are its own, so that each process sees the end of the other.
    drop((channel, alive));
    let mut channel = Channel::new(ours);
    let report = channel.receive().map(|received| StartReport::decode(received.bytes));
    match report {
        Ok(Some(StartReport::Started)) => Ok((Client::new(channel), ended)),
        Ok(Some(StartReport::Refused(error))) => Err(BrokerError::Refused(error)),
        Ok(None) => Err(BrokerError::system("starting", io::ErrorKind::InvalidData.into())),
        Err(source) => Err(BrokerError::system("starting", source)),
    }
}

#[cfg(test)]
mod tests;
