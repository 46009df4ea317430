//! Exits as the kernel's own bytes, for those who keep them.

use std::time::Duration;

use super::listener::LinuxListener;
use crate::taskstats::drain::MessageSink;
use crate::taskstats::{Depth, ExitListener, KernelError, Wake};

/// Takes exits from the kernel without reading what they say, with one bounded queue a CPU.
#[derive(Debug)]
pub struct RawListener {
    inner: LinuxListener,
}

impl RawListener {
    pub(super) fn new(inner: LinuxListener) -> Self {
        Self { inner }
    }

    /// As [`ExitListener::waker`].
    #[must_use]
    pub fn waker(&self) -> Box<dyn Wake> {
        self.inner.waker()
    }

    /// As [`ExitListener::open`].
    ///
    /// # Errors
    /// As there.
    pub fn open(&mut self, cpu: u32) -> Result<(), KernelError> {
        self.inner.open(cpu)
    }

    /// As [`ExitListener::close`].
    pub fn close(&mut self, cpu: u32, sink: &mut impl MessageSink) {
        self.inner.close_into(cpu, sink);
    }

    /// As [`ExitListener::wait`].
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
