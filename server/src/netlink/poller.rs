//! Waiting for sockets.

use std::io;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::Duration;

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};

/// Ready sockets taken from the kernel at one wait. More than this are taken at the next.
const EVENTS: usize = 256;
/// The token of the waker; sockets use their CPU's number, which is far smaller.
const WAKER: Token = Token(usize::MAX);

/// Ends a [`Poller::wait`] from another thread.
#[derive(Clone, Debug)]
pub struct Waker(Arc<mio::Waker>);

impl Waker {
    /// Ends the current wait, or the next one if there is none.
    ///
    /// # Errors
    /// What the eventfd said.
    pub fn wake(&self) -> io::Result<()> {
        self.0.wake()
    }
}

/// A set of sockets, told apart by number. Readiness is told once (edge-triggered): a socket must be
/// emptied before it is told again.
#[derive(Debug)]
pub struct Poller {
    poll: Poll,
    events: Events,
    waker: Waker,
}

impl Poller {
    /// Opens an empty set.
    ///
    /// # Errors
    /// What epoll or eventfd said.
    pub fn new() -> io::Result<Self> {
        let poll = Poll::new()?;
        let waker = Waker(Arc::new(mio::Waker::new(poll.registry(), WAKER)?));
        Ok(Self { poll, events: Events::with_capacity(EVENTS), waker })
    }

    /// A handle that ends a wait.
    #[must_use]
    pub fn waker(&self) -> Waker {
        self.waker.clone()
    }

    /// Adds a socket under a number.
    ///
    /// # Errors
    /// What epoll said.
    pub fn add(&self, socket: &impl AsRawFd, number: u32) -> io::Result<()> {
        let token = Token(usize::try_from(number).unwrap_or(usize::MAX - 1));
        self.poll.registry().register(&mut SourceFd(&socket.as_raw_fd()), token, Interest::READABLE)
    }

    /// Removes a socket.
    ///
    /// # Errors
    /// What epoll said.
    pub fn remove(&self, socket: &impl AsRawFd) -> io::Result<()> {
        self.poll.registry().deregister(&mut SourceFd(&socket.as_raw_fd()))
    }

    /// Waits until a socket is ready, the waker was used, or the time is over (never, if `None`);
    /// appends the numbers of ready sockets to `ready`.
    ///
    /// # Errors
    /// What epoll said. An interrupted wait is no error: it finds nothing.
    pub fn wait(&mut self, timeout: Option<Duration>, ready: &mut Vec<u32>) -> io::Result<()> {
        match self.poll.poll(&mut self.events, timeout) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
            outcome => outcome?,
        }
        let numbers = self.events.iter().filter_map(|event| u32::try_from(event.token().0).ok());
        ready.extend(numbers);
        Ok(())
    }
}
