//! Polling of sockets.

use std::io;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::Duration;

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};

/// The most ready sockets that one wait returns; the next wait returns the others.
const EVENTS: usize = 256;
/// The token of the waker. Sockets use the number of their CPU, which is far smaller.
const WAKER: Token = Token(usize::MAX);

/// A handle that ends a [`Poller::wait`] from another thread.
#[derive(Clone, Debug)]
pub(crate) struct Waker(Arc<mio::Waker>);

impl Waker {
    /// Ends the current wait, or the next one if none is running.
    ///
    /// # Errors
    /// The error of the eventfd.
    pub(crate) fn wake(&self) -> io::Result<()> {
        self.0.wake()
    }
}

/// A set of numbered sockets. Polling is edge-triggered: a socket is reported again only after it
/// was read until empty.
#[derive(Debug)]
pub(crate) struct Poller {
    poll: Poll,
    events: Events,
    waker: Waker,
}

impl Poller {
    /// Creates an empty set.
    ///
    /// # Errors
    /// The error of epoll or eventfd.
    pub(crate) fn new() -> io::Result<Self> {
        let poll = Poll::new()?;
        let waker = Waker(Arc::new(mio::Waker::new(poll.registry(), WAKER)?));
        Ok(Self { poll, events: Events::with_capacity(EVENTS), waker })
    }

    /// Returns a handle that ends a wait.
    #[must_use]
    pub(crate) fn waker(&self) -> Waker {
        self.waker.clone()
    }

    /// Adds a socket under a number.
    ///
    /// # Errors
    /// The error of epoll.
    pub(crate) fn add(&self, socket: &impl AsRawFd, number: u32) -> io::Result<()> {
        let token = Token(usize::try_from(number).unwrap_or(usize::MAX - 1));
        self.poll.registry().register(&mut SourceFd(&socket.as_raw_fd()), token, Interest::READABLE)
    }

    /// Removes a socket.
    ///
    /// # Errors
    /// The error of epoll.
    pub(crate) fn remove(&self, socket: &impl AsRawFd) -> io::Result<()> {
        self.poll.registry().deregister(&mut SourceFd(&socket.as_raw_fd()))
    }

    /// Waits until a socket is ready, the waker was used, or the timeout expires; `None` means no
    /// timeout. Appends the numbers of ready sockets to `ready`.
    ///
    /// # Errors
    /// The error of epoll. An interrupted wait is not an error; it reports no socket.
    pub(crate) fn wait(
        &mut self,
        timeout: Option<Duration>,
        ready: &mut Vec<u32>,
    ) -> io::Result<()> {
        match self.poll.poll(&mut self.events, timeout) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
            outcome => outcome?,
        }
        let numbers = self.events.iter().filter_map(|event| u32::try_from(event.token().0).ok());
        ready.extend(numbers);
        Ok(())
    }
}
