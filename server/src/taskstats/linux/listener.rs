//! A listener with one socket for each CPU: a message does not name the CPU on which its task
//! exited, and the drop counter of each socket counts the losses of its CPU.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::privileged::{AdoptedFilter, ExitSocket, FilterState, Privileged};
use crate::bpf::{FilterError, FilterSet, KeptSlots, Slots as CgroupSlots};
use crate::netlink::{Inbox, Poller, Received, Socket, Waker};
use crate::taskstats::drain::{
    CpuQueue, CpuQueues, DatagramSlots, DatagramSource, ExitDecoder, MessageSink,
};
use crate::taskstats::reply::failed;
use crate::taskstats::{Depth, Drained, ExitListener, ExitSink, KeptSocket, KernelError, Wake};

/// Messages received by one system call. More would only enlarge the memory that they pass through.
const SLOTS: usize = 64;
/// The smallest size of a slot. It fits the record of every known version, and a page holds two
/// slots.
const SLOT_BYTES: usize = 2048;
/// The factor by which a slot grows if a message did not fit.
const SLOT_GROWTH: usize = 4;
/// The largest size of a slot: `NLMSG_GOODSIZE` limits a message to a page, which is 64 KiB at
/// most.
const MAX_SLOT_BYTES: usize = 64 * 1024;

/// A listener with one socket for each CPU.
#[derive(Debug)]
pub(super) struct LinuxListener {
    privileged: Arc<dyn Privileged>,
    receive_buffer: usize,
    /// Filters that attribute exits, by CPU.
    filters: Option<Arc<FilterSet>>,
    queues: CpuQueues<Socket>,
    poller: Poller,
}

impl LinuxListener {
    /// Creates a listener. `message_bytes` is the expected length of the longest message.
    pub(super) fn new(
        privileged: Arc<dyn Privileged>,
        filters: Option<Arc<FilterSet>>,
        receive_buffer: usize,
        message_bytes: usize,
    ) -> Result<Self, KernelError> {
        let slot_bytes = message_bytes.next_power_of_two().clamp(SLOT_BYTES, MAX_SLOT_BYTES);
        Ok(Self {
            privileged,
            receive_buffer,
            filters,
            queues: CpuQueues::new(Inbox::new(SLOTS, slot_bytes)),
            poller: Poller::new().map_err(|source| failed("epoll_create", source))?,
        })
    }

    /// Maps what the filter of a socket stores, if one is attached. Exits are received even without it.
    fn cgroups(&self, cpu: u32, opened: &ExitSocket) -> Option<CgroupSlots> {
        let filter = self.filters.as_ref()?.of_cpu(cpu)?;
        let slots = match opened.filter {
            FilterState::Absent => return None,
            FilterState::Attached => filter.slots(),
            FilterState::Refused(errno) => {
                Err(FilterError::Attach(io::Error::from_raw_os_error(errno)))
            }
        };
        let warn = |error: &FilterError| {
            tracing::warn!(cpu, %error, "cannot use the filter that attributes exits");
        };
        slots.inspect_err(warn).ok()
    }

    /// Like [`ExitListener::close`], but passes the kernel's messages undecoded.
    pub(super) fn close_into(&mut self, cpu: u32, sink: &mut impl MessageSink) {
        let Some(queue) = self.queues.remove(cpu) else { return };
        self.deregister(cpu, &queue);
        self.queues.finish(queue, sink);
    }

    /// Like [`ExitListener::drain`], but passes the kernel's messages undecoded.
    pub(super) fn drain_into(&mut self, depth: Depth, sink: &mut impl MessageSink) -> Drained {
        self.queues.drain(depth, sink)
    }

    /// Adds a socket that an earlier listener kept.
    pub(super) fn adopt(&mut self, kept: KeptSocket) -> Result<(), KernelError> {
        let KeptSocket { cpu, drops, socket, cgroups } = kept;
        let socket = Socket::adopt(socket).map_err(|source| failed("adopting a socket", source))?;
        let resumed = cgroups.and_then(|kept| self.resume_cgroups(cpu, kept));
        let filter = if resumed.is_some() { AdoptedFilter::Stays } else { AdoptedFilter::Replaced };
        let adopted = self.privileged.adopt(cpu, socket, filter)?;
        self.check_receive_buffer(&adopted);
        // Without the memory of the earlier filter, exits that are already queued are not attributed.
        let cgroups = resumed.or_else(|| self.cgroups(cpu, &adopted));
        self.poll(cpu, CpuQueue::adopted(cpu, adopted.socket, drops, cgroups))
    }

    /// Maps the memory of an earlier run's filter, if this run's filter of the CPU is the same.
    fn resume_cgroups(&self, cpu: u32, kept: KeptSlots) -> Option<CgroupSlots> {
        let filter = self.filters.as_ref()?.of_cpu(cpu)?;
        filter.resume(kept).unwrap_or_else(|error| {
            tracing::warn!(cpu, %error, "exits of the restart are not attributed");
            None
        })
    }

    fn check_receive_buffer(&self, opened: &ExitSocket) {
        let (requested, granted) = (self.receive_buffer, opened.receive_buffer);
        if granted < requested {
            tracing::warn!(requested, granted, "the kernel granted a smaller receive buffer");
        }
    }

    /// Adds a registered socket to the poller.
    fn poll(&mut self, cpu: u32, queue: CpuQueue<Socket>) -> Result<(), KernelError> {
        if let Err(source) = self.poller.add(&queue.socket, cpu) {
            self.deregister(cpu, &queue);
            return Err(failed("epoll_ctl", source));
        }
        self.queues.insert(queue);
        Ok(())
    }

    /// Ends the registration. A failure has no lasting effect: the kernel removes a closed socket
    /// from its lists at the next exit.
    fn deregister(&self, cpu: u32, queue: &CpuQueue<Socket>) {
        let outcome = self.privileged.deregister(cpu, &queue.socket);
        let removed =
            |()| self.poller.remove(&queue.socket).map_err(|source| failed("epoll_ctl", source));
        if let Err(error) = outcome.and_then(removed) {
            tracing::warn!(cpu, %error, "cannot deregister");
        }
    }
}

impl ExitListener for LinuxListener {
    fn waker(&self) -> Box<dyn Wake> {
        Box::new(self.poller.waker())
    }

    fn open(&mut self, cpu: u32) -> Result<(), KernelError> {
        let opened = self.privileged.open(cpu)?;
        self.check_receive_buffer(&opened);
        let cgroups = self.cgroups(cpu, &opened);
        self.poll(cpu, CpuQueue::new(cpu, opened.socket, cgroups))
    }

    fn keep(mut self: Box<Self>) -> Vec<KeptSocket> {
        let kept =
            self.queues.remove_all().map(|(cpu, CpuQueue { socket, drops, cgroups, .. })| {
                let cgroups = cgroups.map(CgroupSlots::keep);
                KeptSocket { cpu, drops, socket: socket.release(), cgroups }
            });
        kept.collect()
    }

    fn close(&mut self, cpu: u32, sink: &mut dyn ExitSink) {
        self.close_into(cpu, &mut ExitDecoder(sink));
    }

    fn wait(&mut self, timeout: Option<Duration>) -> Result<(), KernelError> {
        let ready = &mut self.queues.ready;
        let timeout = if ready.is_empty() { timeout } else { Some(Duration::ZERO) };
        self.poller.wait(timeout, ready).map_err(|source| failed("epoll_wait", source))
    }

    fn drain(&mut self, depth: Depth, sink: &mut dyn ExitSink) -> Drained {
        self.drain_into(depth, &mut ExitDecoder(sink))
    }

    fn check_drops(&mut self, sink: &mut dyn ExitSink) {
        self.queues.check_drops(&mut ExitDecoder(sink));
    }
}

impl Drop for LinuxListener {
    /// Ends all registrations.
    fn drop(&mut self) {
        for (cpu, queue) in self.queues.remove_all() {
            self.deregister(cpu, &queue);
        }
    }
}

impl DatagramSource for Socket {
    type Inbox = Inbox;

    fn receive_many(&self, inbox: &mut Inbox) -> io::Result<usize> {
        Self::receive_many(self, inbox)
    }

    fn drops(&self) -> io::Result<u32> {
        Self::drops(self)
    }
}

impl DatagramSlots for Inbox {
    fn slots(&self) -> usize {
        Self::slots(self)
    }

    fn received(&self, count: usize) -> impl Iterator<Item = Received<'_>> {
        Self::received(self, count)
    }

    fn enlarge(&mut self, cpu: u32, truncated: u64) {
        let slot_bytes = (self.slot_bytes() * SLOT_GROWTH).min(MAX_SLOT_BYTES);
        tracing::warn!(
            cpu,
            truncated,
            slot_bytes,
            "exit messages exceeded the receive slots; enlarging the slots"
        );
        *self = Self::new(self.slots(), slot_bytes);
    }
}

impl Wake for Waker {
    fn wake(&self) {
        if let Err(error) = Self::wake(self) {
            tracing::error!(%error, "cannot wake the reader");
        }
    }
}
