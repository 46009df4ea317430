//! Taking exits: one socket a CPU, because a message does not say on which CPU its task exited, and
//! because losses then have an address.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use super::raw::{Decoding, MessageSink};
use super::{failed, refused};
use crate::netlink::{Inbox, MessageKind, Messages, Poller, Received, Socket, Waker};
use crate::taskstats::wire::Command;
use crate::taskstats::{
    Depth, Drained, ExitSink, KeptSocket, KernelError, Listener, Namespace, Wake,
};

const REGISTER: &str = "TASKSTATS_CMD_ATTR_REGISTER_CPUMASK";
/// Messages taken by one system call; more would only make the memory that they go through larger.
const SLOTS: usize = 64;
/// The least size of a slot. The record of every known version fits, and one page holds two slots.
const SLOT_BYTES: usize = 2048;
/// What a slot grows by when a message did not fit.
const SLOT_GROWTH: usize = 4;
/// The most that a slot grows to: `NLMSG_GOODSIZE` bounds a message by a page, of 64 KiB at most.
const MAX_SLOT_BYTES: usize = 64 * 1024;
/// System calls at one socket before the others get their turn; then it stays ready.
const CALLS_A_TURN: usize = 64;
/// A reply to a registration repeats the request behind a header.
const REPLY_BYTES: usize = 64 * 1024;

/// Listens with one socket a CPU.
#[derive(Debug)]
pub(super) struct LinuxListener {
    family: u16,
    /// The list of all possible CPUs.
    possible: String,
    receive_buffer: usize,
    sockets: BTreeMap<u32, CpuSocket>,
    poller: Poller,
    inbox: Inbox,
    /// CPUs whose sockets may hold messages.
    ready: Vec<u32>,
}

#[derive(Debug)]
struct CpuSocket {
    socket: Socket,
    /// The drop counter when it was last read.
    drops: u32,
    /// Whether the kernel told of drops since the queue was last empty.
    overflowed: bool,
}

impl LinuxListener {
    /// `message_bytes` is the length of the longest message to expect.
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
            sockets: BTreeMap::new(),
            poller: Poller::new().map_err(|source| failed("epoll_create", source))?,
            inbox: Inbox::new(SLOTS, slot_bytes),
            ready: Vec::new(),
        })
    }

    /// As [`Listener::close`], with the kernel's bytes.
    pub(super) fn close_into(&mut self, cpu: u32, sink: &mut impl MessageSink) {
        let Some(mut socket) = self.sockets.remove(&cpu) else { return };
        self.deregister(cpu, &socket);
        while socket.take(cpu, Depth::Empty, &mut self.inbox, sink).more {}
        socket.check_drops(cpu, sink);
        self.ready.retain(|ready| *ready != cpu);
    }

    /// As [`Listener::drain`], with the kernel's bytes.
    pub(super) fn drain_into(&mut self, depth: Depth, sink: &mut impl MessageSink) -> Drained {
        let mut drained = Drained::default();
        let mut ready = std::mem::take(&mut self.ready);
        ready.retain(|&cpu| {
            let Some(socket) = self.sockets.get_mut(&cpu) else { return false };
            let taken = socket.take(cpu, depth, &mut self.inbox, sink);
            drained.messages += taken.messages;
            drained.fullest = drained.fullest.max(taken.messages);
            drained.cut_short |= taken.cut_short;
            taken.more
        });
        self.ready = ready;
        drained
    }

    /// Stops to listen on a CPU and forgets what its socket holds.
    fn abandon(&mut self, cpu: u32) {
        if let Some(socket) = self.sockets.remove(&cpu) {
            self.deregister(cpu, &socket);
        }
    }

    /// Goes on with a socket that an earlier listener kept.
    pub(super) fn adopt(&mut self, kept: KeptSocket) -> Result<(), KernelError> {
        let KeptSocket { cpu, drops, socket } = kept;
        let socket = Socket::adopt(socket).map_err(|source| failed("adopting a socket", source))?;
        self.set_receive_buffer(&socket)?;
        // It may have overflowed while nobody read it; the error that says so may have been taken.
        self.poll(cpu, CpuSocket { socket, drops, overflowed: true })
    }

    fn set_receive_buffer(&self, socket: &Socket) -> Result<(), KernelError> {
        let granted = socket
            .set_receive_buffer(self.receive_buffer)
            .map_err(|source| failed("SO_RCVBUF", source))?;
        if granted < self.receive_buffer {
            let asked = self.receive_buffer;
            tracing::warn!(asked, granted, "the kernel grants a smaller receive buffer");
        }
        Ok(())
    }

    /// Adds a registered socket to those that are waited for.
    fn poll(&mut self, cpu: u32, socket: CpuSocket) -> Result<(), KernelError> {
        if let Err(source) = self.poller.add(&socket.socket, cpu) {
            self.deregister(cpu, &socket);
            return Err(failed("epoll_ctl", source));
        }
        self.sockets.insert(cpu, socket);
        // What arrived before the socket was polled gave no edge.
        self.ready.push(cpu);
        Ok(())
    }

    /// Registers a socket that is not polled yet, so that the acknowledgement is read here.
    fn register(&self, cpu: u32, socket: &Socket) -> Result<(), KernelError> {
        // A listener that died without deregistering stays in the kernel's lists until the next
        // exit, and a socket that is given its port id inherits it (`kernel/taskstats.c`). Such a
        // socket would be told exits of other CPUs.
        self.command(socket, Command::Deregister(&self.possible))?;
        self.command(socket, Command::Register(&cpu.to_string()))
    }

    /// Sends a command and waits for its acknowledgement. Exits that arrive before it belong to a
    /// registration that was inherited.
    fn command(&self, socket: &Socket, command: Command<'_>) -> Result<(), KernelError> {
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
                    // Its list is right, so what is invalid is the place that it comes from
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

    /// Ends the registration. It cannot fail in a way that matters: the kernel forgets a closed
    /// socket at the next exit.
    fn deregister(&self, cpu: u32, socket: &CpuSocket) {
        // Not acknowledged: the queue may be full, and then the kernel would drop the acknowledgement
        // and count it among the exits that it dropped.
        let list = cpu.to_string();
        let request = Command::Deregister(&list).request(self.family, 1, false).encode();
        let outcome = request.and_then(|request| socket.socket.send(&request));
        if let Err(error) = outcome.and_then(|()| self.poller.remove(&socket.socket)) {
            tracing::warn!(cpu, %error, "deregistering failed");
        }
    }
}

impl Listener for LinuxListener {
    fn waker(&self) -> Box<dyn Wake> {
        Box::new(self.poller.waker())
    }

    fn open(&mut self, cpu: u32) -> Result<(), KernelError> {
        let socket = Socket::open().map_err(|source| failed("socket(AF_NETLINK)", source))?;
        self.set_receive_buffer(&socket)?;
        self.register(cpu, &socket)?;
        self.poll(cpu, CpuSocket { socket, drops: 0, overflowed: false })
    }

    fn keep(mut self: Box<Self>) -> Vec<KeptSocket> {
        let sockets = std::mem::take(&mut self.sockets).into_iter();
        let kept = sockets.map(|(cpu, CpuSocket { socket, drops, .. })| KeptSocket {
            cpu,
            drops,
            socket: socket.release(),
        });
        kept.collect()
    }

    fn close(&mut self, cpu: u32, sink: &mut dyn ExitSink) {
        self.close_into(cpu, &mut Decoding(sink));
    }

    fn wait(&mut self, timeout: Option<Duration>) -> Result<(), KernelError> {
        let timeout = if self.ready.is_empty() { timeout } else { Some(Duration::ZERO) };
        self.poller.wait(timeout, &mut self.ready).map_err(|source| failed("epoll_wait", source))
    }

    fn drain(&mut self, depth: Depth, sink: &mut dyn ExitSink) -> Drained {
        self.drain_into(depth, &mut Decoding(sink))
    }

    fn check_drops(&mut self, sink: &mut dyn ExitSink) {
        for (cpu, socket) in &mut self.sockets {
            socket.check_drops(*cpu, &mut Decoding(sink));
        }
    }
}

impl Drop for LinuxListener {
    /// Leaves no registration behind.
    fn drop(&mut self) {
        let cpus: Vec<u32> = self.sockets.keys().copied().collect();
        for cpu in cpus {
            self.abandon(cpu);
        }
    }
}

/// What one turn at a socket brought.
#[derive(Clone, Copy, Debug, Default)]
struct Taken {
    messages: usize,
    /// Whether the socket may hold more.
    more: bool,
    /// Whether it does, because its turn was over.
    cut_short: bool,
}

impl CpuSocket {
    /// Takes messages until the socket is as empty as wanted, or its turn is over.
    fn take(
        &mut self,
        cpu: u32,
        depth: Depth,
        inbox: &mut Inbox,
        sink: &mut impl MessageSink,
    ) -> Taken {
        let mut messages = 0;
        for _ in 0..CALLS_A_TURN {
            match self.socket.receive_many(inbox) {
                Ok(count) => {
                    messages += count;
                    let all = count < inbox.slots();
                    deliver(cpu, inbox, count, sink);
                    // The queue was empty, so all that was dropped came after what it gave and before
                    // what it will give.
                    if all && std::mem::take(&mut self.overflowed) {
                        self.check_drops(cpu, sink);
                    }
                    // What arrived since waits for the next drain.
                    if all && depth == Depth::Shallow {
                        return Taken { messages, more: true, cut_short: false };
                    }
                }
                // Told once; the kernel goes on dropping until the queue is empty.
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => self.overflowed = true,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.emptied(cpu, &error, sink);
                    return Taken { messages, more: false, cut_short: false };
                }
            }
        }
        Taken { messages, more: true, cut_short: true }
    }

    /// Tells what was dropped: all of it came after all that the queue held.
    fn emptied(&mut self, cpu: u32, error: &io::Error, sink: &mut impl MessageSink) {
        if error.kind() != io::ErrorKind::WouldBlock {
            tracing::error!(cpu, %error, "receiving exits failed");
        }
        if std::mem::take(&mut self.overflowed) {
            self.check_drops(cpu, sink);
        }
    }

    fn check_drops(&mut self, cpu: u32, sink: &mut impl MessageSink) {
        let drops = match self.socket.drops() {
            Ok(drops) => drops,
            Err(error) => {
                tracing::error!(cpu, %error, "reading the drop counter failed");
                return;
            }
        };
        let new = drops.wrapping_sub(self.drops);
        self.drops = drops;
        if new > 0 {
            sink.dropped(cpu, u64::from(new));
        }
    }
}

/// Hands the first `count` datagrams of the inbox to the sink.
fn deliver(cpu: u32, inbox: &mut Inbox, count: usize, sink: &mut impl MessageSink) {
    let mut truncated = 0;
    for received in inbox.received(count) {
        match received {
            Received::Datagram(datagram) => sink.datagram(cpu, datagram),
            Received::Truncated => truncated += 1,
        }
    }
    if truncated > 0 {
        let slot_bytes = (inbox.slot_bytes() * SLOT_GROWTH).min(MAX_SLOT_BYTES);
        tracing::warn!(cpu, truncated, slot_bytes, "exit messages did not fit; enlarging the room");
        *inbox = Inbox::new(inbox.slots(), slot_bytes);
        sink.dropped(cpu, truncated);
    }
}

impl Wake for Waker {
    fn wake(&self) {
        if let Err(error) = Self::wake(self) {
            tracing::error!(%error, "waking the reader failed");
        }
    }
}
