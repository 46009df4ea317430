//! The peers: listeners that only count.

use std::convert::Infallible;
use std::io::IoSliceMut;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::{Result, ensure};
use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, MultiHeaders, recv, recvmmsg};

use crate::args::{ListenArgs, Pace};
use crate::netlink::{self, ExitSocket};
use crate::tally::Tally;
use crate::{control, cpus, stamp};

/// A listener at work.
struct Listener {
    sockets: Arc<Vec<ExitSocket>>,
    tally: Arc<Tally>,
    stamped: bool,
}

/// The interval in which a paced listener does not read its sockets.
const PACE: Duration = Duration::from_millis(2);
/// The most messages of one `recvmmsg`.
const BATCH: usize = 64;
/// An exit with a group record has 1,428 bytes in v17; small slots keep the batch in the cache.
const SLOT_BYTES: usize = 2 << 10;
/// The buffer of the kernel's own example: longer than any message.
const PLAIN_BYTES: usize = 8 << 10;

/// Listens until the input ends.
pub(crate) fn run(args: &ListenArgs) -> Result<()> {
    let masks = match args.pace {
        Pace::Plain => vec![cpus::online_list()?],
        Pace::Paced => cpus::online()?.iter().map(u32::to_string).collect(),
    };
    let sockets = masks.into_iter().map(ExitSocket::register).collect::<Result<Vec<_>>>()?;
    let sockets = Arc::new(sockets);
    let listener =
        Listener { sockets: Arc::clone(&sockets), tally: Arc::default(), stamped: args.stamp };
    let leave = move || sockets.iter().try_for_each(ExitSocket::deregister);
    control::count_until_reported(Arc::clone(&listener.tally), leave)?;
    match args.pace {
        Pace::Plain => listener.plain().map(drop),
        Pace::Paced => listener.paced().map(drop),
    }
}

impl Listener {
    fn plain(&self) -> Result<Infallible> {
        let mut buffer = [0; PLAIN_BYTES];
        loop {
            for socket in self.sockets.iter() {
                match recv(socket.descriptor(), &mut buffer, MsgFlags::empty()) {
                    Ok(length) => self.take(socket, &buffer[..length]),
                    Err(Errno::ENOBUFS) => self.tally.add_overrun(),
                    Err(error) => return Err(error.into()),
                }
            }
        }
    }

    fn paced(&self) -> Result<Infallible> {
        let mut slots = vec![[0; SLOT_BYTES]; BATCH];
        let mut headers = MultiHeaders::<()>::preallocate(BATCH, None);
        loop {
            for socket in self.sockets.iter() {
                while self.drain(socket, &mut slots, &mut headers)? == BATCH {}
            }
            thread::sleep(PACE);
        }
    }

    /// Receives one batch, and returns the number of messages.
    fn drain(
        &self,
        socket: &ExitSocket,
        slots: &mut [[u8; SLOT_BYTES]],
        headers: &mut MultiHeaders<()>,
    ) -> Result<usize> {
        let mut slices: Vec<_> = slots.iter_mut().map(|slot| [IoSliceMut::new(slot)]).collect();
        let flags = MsgFlags::MSG_DONTWAIT;
        let batch = match recvmmsg(socket.descriptor(), headers, slices.iter_mut(), flags, None) {
            Ok(batch) => batch,
            Err(Errno::EAGAIN) => return Ok(0),
            Err(Errno::ENOBUFS) => {
                self.tally.add_overrun();
                return Ok(0);
            }
            Err(error) => return Err(error.into()),
        };
        let mut messages = 0;
        for message in batch {
            ensure!(!message.flags.contains(MsgFlags::MSG_TRUNC), "a slot is too small");
            message.iovs().for_each(|datagram| self.take(socket, datagram));
            messages += 1;
        }
        Ok(messages)
    }

    fn take(&self, socket: &ExitSocket, datagram: &[u8]) {
        if !socket.is_exit(datagram) {
            return;
        }
        self.tally.add_events(1, datagram.len());
        if self.stamped {
            self.tally.add_ages(stamp::now_ns(), netlink::comm(datagram).into_iter());
        }
    }
}
