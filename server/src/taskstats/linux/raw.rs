//! Exits as undecoded messages of the kernel.

use std::time::Duration;

use super::listener::LinuxListener;
use crate::taskstats::drain::MessageSink;
use crate::taskstats::{Depth, ExitListener, KernelError, Wake};

/// A listener that passes the kernel's messages undecoded, with one bounded queue for each CPU.
#[derive(Debug)]
pub(crate) struct RawListener {
    inner: LinuxListener,
}

impl RawListener {
    pub(super) fn new(inner: LinuxListener) -> Self {
        Self { inner }
    }

    /// See [`ExitListener::waker`].
    #[must_use]
    pub(crate) fn waker(&self) -> Box<dyn Wake> {
        self.inner.waker()
    }

    /// See [`ExitListener::open`].
    ///
    /// # Errors
    /// See [`ExitListener::open`].
    pub(crate) fn open(&mut self, cpu: u32) -> Result<(), KernelError> {
        self.inner.open(cpu)
    }

    /// See [`ExitListener::close`].
    pub(crate) fn close(&mut self, cpu: u32, sink: &mut impl MessageSink) {
        self.inner.close_into(cpu, sink);
    }

    /// See [`ExitListener::wait`].
    ///
    /// # Errors
    /// See [`ExitListener::wait`].
    pub(crate) fn wait(&mut self, timeout: Option<Duration>) -> Result<(), KernelError> {
        self.inner.wait(timeout)
    }

    /// Receives from the queues that [`RawListener::wait`] found ready.
    pub(crate) fn drain(&mut self, sink: &mut impl MessageSink) {
        self.inner.drain_into(Depth::Empty, sink);
    }
}
