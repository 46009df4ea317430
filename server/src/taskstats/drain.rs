//! Receives from the queues of a listener, one for each CPU, and reports their losses.

use std::collections::BTreeMap;
use std::io;

use super::wire::{decode_exit, stats_messages};
use super::{Depth, Drained, ExitSink};
use crate::netlink::Received;

/// The system calls for one queue before other queues are served; it then stays ready.
const CALLS_PER_TURN: usize = 64;

/// The socket of a queue: a netlink socket or a simulated one.
pub(crate) trait DatagramSource {
    /// The buffer for received messages.
    type Inbox: DatagramSlots;

    /// Receives as many queued messages as fit into `inbox`, without waiting.
    ///
    /// # Errors
    /// `WouldBlock` if no message is queued; `ENOBUFS` once after messages were dropped.
    fn receive_many(&self, inbox: &mut Self::Inbox) -> io::Result<usize>;

    /// Returns the number of messages dropped so far, which wraps at 32 bits.
    ///
    /// # Errors
    /// The error of reading the counter.
    fn drops(&self) -> io::Result<u32>;
}

/// A buffer for many messages.
pub(crate) trait DatagramSlots {
    /// Returns the number of slots.
    fn slots(&self) -> usize;

    /// Returns the content of the first `count` slots.
    fn received(&self, count: usize) -> impl Iterator<Item = Received<'_>>;

    /// Enlarges each slot after `truncated` messages of a CPU did not fit.
    fn enlarge(&mut self, cpu: u32, truncated: u64);
}

/// A receiver of the kernel's messages.
pub trait MessageSink {
    /// Receives one datagram with the exit of one task, from its `nlmsghdr` on.
    fn datagram(&mut self, cpu: u32, datagram: &[u8]);

    /// Receives the number of exits of a CPU that the kernel dropped after those delivered so far.
    fn dropped(&mut self, cpu: u32, count: u64);
}

/// Decodes messages for a receiver of exits.
pub(crate) struct ExitDecoder<'a>(pub(crate) &'a mut dyn ExitSink);

impl MessageSink for ExitDecoder<'_> {
    fn datagram(&mut self, cpu: u32, datagram: &[u8]) {
        for (sequence, attributes) in stats_messages(datagram) {
            match decode_exit(attributes, cpu, sequence) {
                Some(exit) => self.0.exit(&exit),
                // An exit that cannot be decoded counts as lost.
                None => self.0.dropped(cpu, 1),
            }
        }
    }

    fn dropped(&mut self, cpu: u32, count: u64) {
        self.0.dropped(cpu, count);
    }
}

/// The queue of a CPU.
#[derive(Debug)]
pub(crate) struct CpuQueue<S> {
    pub(crate) socket: S,
    cpu: u32,
    /// The drop counter when it was last read.
    pub(crate) drops: u32,
    /// Set when drops were reported and the queue has not been empty since.
    overflowed: bool,
}

/// The queues of a listener.
#[derive(Debug)]
pub(crate) struct CpuQueues<S: DatagramSource> {
    queues: BTreeMap<u32, CpuQueue<S>>,
    inbox: S::Inbox,
    /// CPUs whose queues may hold messages. Edge-triggered polling does not report them again.
    pub(crate) ready: Vec<u32>,
}

/// The result of one turn of a queue.
#[derive(Clone, Copy, Debug, Default)]
struct Turn {
    messages: usize,
    /// Set if the queue may hold more messages.
    more: bool,
    /// Set if it does because its turn ended.
    cut_short: bool,
}

impl<S: DatagramSource> CpuQueues<S> {
    pub(crate) fn new(inbox: S::Inbox) -> Self {
        Self { queues: BTreeMap::new(), inbox, ready: Vec::new() }
    }

    /// Adds a queue.
    pub(crate) fn insert(&mut self, queue: CpuQueue<S>) {
        // Polling does not report messages that arrived before the socket was added to it.
        self.ready.push(queue.cpu);
        self.queues.insert(queue.cpu, queue);
    }

    /// Removes the queue of a CPU.
    pub(crate) fn remove(&mut self, cpu: u32) -> Option<CpuQueue<S>> {
        self.ready.retain(|ready| *ready != cpu);
        self.queues.remove(&cpu)
    }

    /// Removes all queues.
    pub(crate) fn remove_all(&mut self) -> impl Iterator<Item = (u32, CpuQueue<S>)> + use<S> {
        self.ready.clear();
        std::mem::take(&mut self.queues).into_iter()
    }

    /// Receives the remaining messages of a removed queue and reports its last drops.
    pub(crate) fn finish(&mut self, mut queue: CpuQueue<S>, sink: &mut impl MessageSink) -> S {
        while queue.receive(Depth::Empty, &mut self.inbox, sink).more {}
        queue.check_drops(sink);
        queue.socket
    }

    /// Receives from the queues that are ready.
    pub(crate) fn drain(&mut self, depth: Depth, sink: &mut impl MessageSink) -> Drained {
        let mut drained = Drained::default();
        let mut ready = std::mem::take(&mut self.ready);
        ready.retain(|cpu| {
            let Some(queue) = self.queues.get_mut(cpu) else { return false };
            let turn = queue.receive(depth, &mut self.inbox, sink);
            drained.messages += turn.messages;
            drained.fullest = drained.fullest.max(turn.messages);
            drained.cut_short |= turn.cut_short;
            turn.more
        });
        self.ready = ready;
        drained
    }

    /// Reads all drop counters and reports new drops.
    pub(crate) fn check_drops(&mut self, sink: &mut impl MessageSink) {
        for queue in self.queues.values_mut() {
            queue.check_drops(sink);
        }
    }
}

impl<S: DatagramSource> CpuQueue<S> {
    /// Creates a queue with a socket from which nothing was received.
    pub(crate) fn new(cpu: u32, socket: S) -> Self {
        Self { socket, cpu, drops: 0, overflowed: false }
    }

    /// Creates a queue with a socket that was read before, when its drop counter was `drops`. It
    /// may have overflowed since then, and the error that reports it may have been received
    /// already.
    pub(crate) fn adopted(cpu: u32, socket: S, drops: u32) -> Self {
        Self { socket, cpu, drops, overflowed: true }
    }

    /// Receives messages until the queue is as empty as `depth` demands or its turn ends.
    fn receive(&mut self, depth: Depth, inbox: &mut S::Inbox, sink: &mut impl MessageSink) -> Turn {
        let mut messages = 0;
        for _ in 0..CALLS_PER_TURN {
            match self.socket.receive_many(inbox) {
                Ok(count) => {
                    messages += count;
                    let all = count < inbox.slots();
                    deliver(self.cpu, inbox, count, sink);
                    // The queue was empty, so all drops happened after the messages received and
                    // before those to come.
                    if all && std::mem::take(&mut self.overflowed) {
                        self.check_drops(sink);
                    }
                    // The next drain receives messages that have arrived since.
                    if all && depth == Depth::Shallow {
                        return Turn { messages, more: true, cut_short: false };
                    }
                }
                // The kernel reports this once, and then drops until the queue is empty.
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => self.overflowed = true,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.report_overflow(&error, sink);
                    return Turn { messages, more: false, cut_short: false };
                }
            }
        }
        Turn { messages, more: true, cut_short: true }
    }

    /// Reports drops: all of them happened after the messages received.
    fn report_overflow(&mut self, error: &io::Error, sink: &mut impl MessageSink) {
        if error.kind() != io::ErrorKind::WouldBlock {
            tracing::error!(cpu = self.cpu, %error, "cannot receive exits");
        }
        if std::mem::take(&mut self.overflowed) {
            self.check_drops(sink);
        }
    }

    fn check_drops(&mut self, sink: &mut impl MessageSink) {
        let drops = match self.socket.drops() {
            Ok(drops) => drops,
            Err(error) => {
                tracing::error!(cpu = self.cpu, %error, "cannot read the drop counter");
                return;
            }
        };
        let new = drops.wrapping_sub(self.drops);
        self.drops = drops;
        if new > 0 {
            sink.dropped(self.cpu, u64::from(new));
        }
    }
}

/// Passes the first `count` messages of the inbox to the sink.
fn deliver(cpu: u32, inbox: &mut impl DatagramSlots, count: usize, sink: &mut impl MessageSink) {
    let mut truncated = 0;
    for received in inbox.received(count) {
        match received {
            Received::Datagram(datagram) => sink.datagram(cpu, datagram),
            Received::Truncated => truncated += 1,
        }
    }
    if truncated > 0 {
        inbox.enlarge(cpu, truncated);
        sink.dropped(cpu, truncated);
    }
}
