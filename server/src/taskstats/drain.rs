//! Receives from the queues of a listener, one for each CPU, and reports their losses.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use super::wire::{decode_exit, stats_messages};
use super::{Attribution, Depth, Drained, Exit, ExitSink, Owner};
use crate::bpf::{CgroupLosses, Slots as CgroupSlots};
use crate::clock::{unix_time, uptime};
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
pub(crate) trait MessageSink {
    /// Receives one datagram with the exit of one task, from its `nlmsghdr` on.
    fn datagram(&mut self, cpu: u32, datagram: &[u8], attributor: &mut Attributor<'_>);

    /// Receives the number of exits of a CPU that the kernel dropped after those delivered so far,
    /// and how many of them belong to which known cgroup.
    fn dropped(&mut self, cpu: u32, count: u64, by_cgroup: CgroupLosses);
}

/// Adds the cgroups that the filter of a socket stored to the exits of one receive call.
#[derive(Debug)]
pub(crate) struct Attributor<'a> {
    slots: Option<&'a mut CgroupSlots>,
    clocks: Clocks,
}

/// The times at which one receive call returned.
#[derive(Clone, Copy, Debug)]
struct Clocks {
    unix_time: Duration,
    uptime: Duration,
    /// The longest time for which a message may have been queued.
    longest_wait: Duration,
}

impl Clocks {
    /// Returns the Unix time of an earlier event from the low half of its `CLOCK_BOOTTIME` in
    /// nanoseconds; `None` if the half may have wrapped since then.
    fn resolve(&self, low_ns: u32) -> Option<Duration> {
        if self.longest_wait >= Duration::from_nanos(u32::MAX.into()) {
            return None;
        }
        let now_low_ns = u32::try_from(self.uptime.as_nanos() & u128::from(u32::MAX)).ok()?;
        let age = Duration::from_nanos(now_low_ns.wrapping_sub(low_ns).into());
        self.unix_time.checked_sub(age)
    }
}

impl Attributor<'_> {
    /// Sets the cgroup and the end time of an exit, if the filter stored them.
    fn attribute(&mut self, exit: &mut Exit) {
        let Some((slots, pid)) = self.slots.as_mut().zip(exit.task.identity.pid) else { return };
        let Some(seen) = slots.find(exit.kernel_sequence, pid) else { return };
        exit.owner = Some(Owner { cgroup: seen.cgroup, attribution: Attribution::Exact });
        exit.ended_at = self.clocks.resolve(seen.ended_low_ns);
    }
}

/// Decodes messages for a receiver of exits.
pub(crate) struct ExitDecoder<'a>(pub(crate) &'a mut dyn ExitSink);

impl MessageSink for ExitDecoder<'_> {
    fn datagram(&mut self, cpu: u32, datagram: &[u8], attributor: &mut Attributor<'_>) {
        for (sequence, attributes) in stats_messages(datagram) {
            match decode_exit(attributes, cpu, sequence) {
                Some(mut exit) => {
                    attributor.attribute(&mut exit);
                    self.0.exit(&exit);
                }
                // An exit that cannot be decoded counts as lost.
                None => self.0.dropped(cpu, 1, CgroupLosses::new()),
            }
        }
    }

    fn dropped(&mut self, cpu: u32, count: u64, by_cgroup: CgroupLosses) {
        self.0.dropped(cpu, count, by_cgroup);
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
    /// The memory of the socket's filter, if it has one.
    pub(crate) cgroups: Option<CgroupSlots>,
    /// The uptime at which the queue was last seen empty.
    emptied_at: Duration,
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
        queue.check_drops(true, sink);
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
            queue.check_drops(false, sink);
        }
    }
}

impl<S: DatagramSource> CpuQueue<S> {
    /// Creates a queue with a socket from which nothing was received.
    pub(crate) fn new(cpu: u32, socket: S, cgroups: Option<CgroupSlots>) -> Self {
        Self { socket, cpu, drops: 0, overflowed: false, cgroups, emptied_at: uptime() }
    }

    /// Creates a queue with a socket that was read before, when its drop counter was `drops`. It
    /// may have overflowed since then, and the error that reports it may have been received
    /// already.
    pub(crate) fn adopted(cpu: u32, socket: S, drops: u32, cgroups: Option<CgroupSlots>) -> Self {
        Self {
            socket,
            cpu,
            drops,
            overflowed: true,
            cgroups,
            // Messages may have been queued since the boot.
            emptied_at: Duration::ZERO,
        }
    }

    /// Receives messages until the queue is as empty as `depth` demands or its turn ends.
    fn receive(&mut self, depth: Depth, inbox: &mut S::Inbox, sink: &mut impl MessageSink) -> Turn {
        let mut messages = 0;
        for _ in 0..CALLS_PER_TURN {
            match self.socket.receive_many(inbox) {
                Ok(count) => {
                    messages += count;
                    let all = count < inbox.slots();
                    self.deliver(inbox, count, sink);
                    // The queue was empty, so all drops happened after the messages received and
                    // before those to come.
                    if all && std::mem::take(&mut self.overflowed) {
                        self.check_drops(true, sink);
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
        self.emptied_at = uptime();
        if std::mem::take(&mut self.overflowed) {
            self.check_drops(true, sink);
        }
    }

    /// Reports new drops. `is_empty` means that the queue was just seen empty.
    fn check_drops(&mut self, is_empty: bool, sink: &mut impl MessageSink) {
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
            let count = u64::from(new);
            let slots = self.cgroups.as_mut();
            let by_cgroup = slots.map(|slots| slots.take_losses(count, is_empty));
            sink.dropped(self.cpu, count, by_cgroup.unwrap_or_default());
        }
    }

    /// Passes the first `count` messages of the inbox to the sink.
    fn deliver(&mut self, inbox: &mut S::Inbox, count: usize, sink: &mut impl MessageSink) {
        let now = uptime();
        let longest_wait = now.saturating_sub(self.emptied_at);
        let clocks = Clocks { unix_time: unix_time(), uptime: now, longest_wait };
        let mut attributor = Attributor { slots: self.cgroups.as_mut(), clocks };
        let mut truncated = 0;
        for received in inbox.received(count) {
            match received {
                Received::Datagram(datagram) => {
                    sink.datagram(self.cpu, datagram, &mut attributor);
                }
                Received::Truncated => truncated += 1,
            }
        }
        if let Some(slots) = &self.cgroups {
            slots.publish();
        }
        if count < inbox.slots() {
            self.emptied_at = now;
        }
        if truncated > 0 {
            inbox.enlarge(self.cpu, truncated);
            sink.dropped(self.cpu, truncated, CgroupLosses::new());
        }
    }
}
