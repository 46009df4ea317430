//! Exits as the kernel's own bytes, for those who keep them; and the step from them to exits.

use std::time::Duration;

use super::listener::LinuxListener;
use crate::taskstats::wire::exits_in;
use crate::taskstats::{Depth, ExitSink, KernelError, Listener, Wake};

/// Where a listener puts the kernel's own bytes.
pub trait MessageSink {
    /// One datagram of the kernel, from its `nlmsghdr` on: the exit of one task.
    fn datagram(&mut self, cpu: u32, datagram: &[u8]);

    /// Exits of a CPU that the kernel dropped after those it delivered so far.
    fn dropped(&mut self, cpu: u32, count: u64);
}

/// Takes exits from the kernel without reading what they say, with one bounded queue a CPU.
#[derive(Debug)]
pub struct RawListener {
    inner: LinuxListener,
}

impl RawListener {
    pub(super) fn new(inner: LinuxListener) -> Self {
        Self { inner }
    }

    /// As [`Listener::waker`].
    #[must_use]
    pub fn waker(&self) -> Box<dyn Wake> {
        self.inner.waker()
    }

    /// As [`Listener::open`].
    ///
    /// # Errors
    /// As there.
    pub fn open(&mut self, cpu: u32) -> Result<(), KernelError> {
        self.inner.open(cpu)
    }

    /// As [`Listener::close`].
    pub fn close(&mut self, cpu: u32, sink: &mut impl MessageSink) {
        self.inner.close_into(cpu, sink);
    }

    /// As [`Listener::wait`].
    ///
    /// # Errors
    /// As there.
    pub fn wait(&mut self, timeout: Option<Duration>) -> Result<(), KernelError> {
        self.inner.wait(timeout)
    }

    /// Takes what the queues hold that [`RawListener::wait`] found filled.
    pub fn drain(&mut self, sink: &mut impl MessageSink) {
        self.inner.drain_into(Depth::Empty, sink);
    }
}

/// Decodes what it is given, for a sink that takes exits.
pub(super) struct Decoding<'a>(pub(super) &'a mut dyn ExitSink);

impl MessageSink for Decoding<'_> {
    fn datagram(&mut self, cpu: u32, datagram: &[u8]) {
        for exit in exits_in(datagram, cpu) {
            match exit {
                Some(exit) => self.0.exit(&exit),
                // Counted, so that nothing is lost silently.
                None => self.0.dropped(cpu, 1),
            }
        }
    }

    fn dropped(&mut self, cpu: u32, count: u64) {
        self.0.dropped(cpu, count);
    }
}
