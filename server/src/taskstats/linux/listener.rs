//! A listener with one socket for each CPU: a message does not name the CPU on which its task
//! exited, and the drop counter of each socket counts the losses of its CPU.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::{failed, refused};
use crate::bpf::{FilterSet, Slots as CgroupSlots};
use crate::netlink::{Inbox, MessageKind, Messages, Poller, Received, Socket, Waker};
use crate::taskstats::drain::{
    CpuQueue, CpuQueues, DatagramSlots, DatagramSource, ExitDecoder, MessageSink,
};
use crate::taskstats::reply::REGISTER;
use crate::taskstats::wire::TaskstatsCommand;
use crate::taskstats::{
    Depth, Drained, ExitListener, ExitSink, KeptSocket, KernelError, Namespace, Wake,
};

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
/// The size of the buffer for the reply to a registration, which repeats the request after a
/// header.
const REPLY_BYTES: usize = 64 * 1024;

/// A listener with one socket for each CPU.
#[derive(Debug)]
pub(super) struct LinuxListener {
    family: u16,
    /// The list of all possible CPUs.
    possible: String,
    receive_buffer: usize,
    /// Filters that attribute exits, by CPU.
    filters: Option<Arc<FilterSet>>,
    queues: CpuQueues<Socket>,
    poller: Poller,
}

impl LinuxListener {
    /// Creates a listener. `message_bytes` is the expected length of the longest message.
    pub(super) fn new(
        family: u16,
        possible: String,
        receive_buffer: usize,
        message_bytes: usize,
    ) -> Result<Self, KernelError> {
        let slot_bytes = message_bytes.next_power_of_two().clamp(SLOT_BYTES, MAX_SLOT_BYTES);
        Ok(Self {
            family,
            possible,
            receive_buffer,
            filters: None,
            queues: CpuQueues::new(Inbox::new(SLOTS, slot_bytes)),
            poller: Poller::new().map_err(|source| failed("epoll_create", source))?,
        })
    }

    /// Attaches a filter to each socket, which attributes its exits to cgroups.
    pub(super) fn attributing(mut self, filters: Option<Arc<FilterSet>>) -> Self {
        self.filters = filters;
        self
    }

    /// Attaches the filter of a CPU, if there is one. Exits are received even without it.
    fn attach_filter(&self, cpu: u32, socket: &Socket) -> Option<CgroupSlots> {
        let filter = self.filters.as_ref()?.of_cpu(cpu)?;
        let attached = filter.attach(socket);
        attached.inspect_err(|error| tracing::warn!(cpu, %error, "cannot attach the filter that attributes exits")).ok()
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
        let KeptSocket { cpu, drops, socket } = kept;
        let socket = Socket::adopt(socket).map_err(|source| failed("adopting a socket", source))?;
        self.set_receive_buffer(&socket)?;
        // The memory of the earlier listener's filter is not available, so exits that are already
        // queued are not attributed.
        let cgroups = self.attach_filter(cpu, &socket);
        self.poll(cpu, CpuQueue::adopted(cpu, socket, drops, cgroups))
    }

    fn set_receive_buffer(&self, socket: &Socket) -> Result<(), KernelError> {
        let granted = socket
            .set_receive_buffer(self.receive_buffer)
            .map_err(|source| failed("SO_RCVBUF", source))?;
        if granted < self.receive_buffer {
            let requested = self.receive_buffer;
            tracing::warn!(requested, granted, "the kernel granted a smaller receive buffer");
        }
        Ok(())
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

    /// Registers a socket that is not polled yet, so that the acknowledgement is received here.
    fn register(&self, cpu: u32, socket: &Socket) -> Result<(), KernelError> {
        // A listener that died without deregistering stays in the kernel's lists until the next
        // exit, and a socket with the same port id inherits its registrations
        // (`kernel/taskstats.c`). Such a socket would receive exits of other CPUs.
        self.command(socket, TaskstatsCommand::Deregister(&self.possible))?;
        self.command(socket, TaskstatsCommand::Register(&cpu.to_string()))
    }

    /// Sends a command and waits for its acknowledgement. Exits received before it belong to an
    /// inherited registration and are ignored.
    fn command(&self, socket: &Socket, command: TaskstatsCommand<'_>) -> Result<(), KernelError> {
        const SEQUENCE: u32 = 1;
        let io_failed = |source| failed(REGISTER, source);
        let request = command.request(self.family, SEQUENCE, true).encode().map_err(io_failed)?;
        socket.send(&request).map_err(io_failed)?;
        let mut reply = vec![0; REPLY_BYTES];
        loop {
            let length = socket.receive_now(&mut reply).map_err(io_failed)?;
            for message in Messages::new(&reply[..length]) {
                match message.kind() {
                    MessageKind::Acknowledgement => return Ok(()),
                    // The list is valid, so the kernel refused the namespace of the sender
                    // (`add_del_listener` in `kernel/taskstats.c`).
                    MessageKind::Error(libc::EINVAL) => {
                        return Err(KernelError::WrongNamespace { namespace: Namespace::Pid });
                    }
                    MessageKind::Error(errno) => return Err(refused(REGISTER, errno)),
                    MessageKind::Generic { .. } | MessageKind::Malformed => {}
                }
            }
        }
    }

    /// Ends the registration. A failure has no lasting effect: the kernel removes a closed socket
    /// from its lists at the next exit.
    fn deregister(&self, cpu: u32, queue: &CpuQueue<Socket>) {
        // No acknowledgement is requested: if the queue is full, the kernel would drop it and count
        // it among the dropped exits.
        let list = cpu.to_string();
        let request = TaskstatsCommand::Deregister(&list).request(self.family, 1, false).encode();
        let outcome = request.and_then(|request| queue.socket.send(&request));
        if let Err(error) = outcome.and_then(|()| self.poller.remove(&queue.socket)) {
            tracing::warn!(cpu, %error, "cannot deregister");
        }
    }
}

impl ExitListener for LinuxListener {
    fn waker(&self) -> Box<dyn Wake> {
        Box::new(self.poller.waker())
    }

    fn open(&mut self, cpu: u32) -> Result<(), KernelError> {
        let socket = Socket::open().map_err(|source| failed("socket(AF_NETLINK)", source))?;
        self.set_receive_buffer(&socket)?;
        // Before the registration, so that no message passes without it.
        let cgroups = self.attach_filter(cpu, &socket);
        self.register(cpu, &socket)?;
        self.poll(cpu, CpuQueue::new(cpu, socket, cgroups))
    }

    fn keep(mut self: Box<Self>) -> Vec<KeptSocket> {
        let kept = self.queues.remove_all().map(|(cpu, CpuQueue { socket, drops, .. })| {
            KeptSocket { cpu, drops, socket: socket.release() }
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
