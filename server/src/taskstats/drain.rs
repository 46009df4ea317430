//! Emptying the queues of a listener, one a CPU, whoever fills them.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use super::wire::{decode_exit, stats_messages};
use super::{Attribution, Depth, Drained, Exit, ExitSink, Owner};
use crate::bpf::{CgroupLosses, Slots as CgroupSlots};
use crate::clock::{unix_time, uptime};
use crate::netlink::Received;

/// System calls at one queue before the others get their turn; then it stays ready.
const CALLS_A_TURN: usize = 64;

/// What a queue is received from: a netlink socket, or one that behaves as such.
pub(crate) trait DatagramSource {
    /// Room for what is received.
    type Inbox: DatagramSlots;

    /// Receives as many messages as wait and fit into `inbox`, without waiting.
    ///
    /// # Errors
    /// `WouldBlock` when none waits; `ENOBUFS` once after messages were dropped.
    fn receive_many(&self, inbox: &mut Self::Inbox) -> io::Result<usize>;

    /// Number of messages dropped so far; it wraps at 32 bits.
    ///
    /// # Errors
    /// When the counter cannot be read.
    fn drops(&self) -> io::Result<u32>;
}

/// Room for many messages.
pub(crate) trait DatagramSlots {
    /// How many.
    fn slots(&self) -> usize;

    /// What the first `count` slots hold.
    fn received(&self, count: usize) -> impl Iterator<Item = Received<'_>>;

    /// Makes each slot larger: so many messages of a CPU did not fit.
    fn enlarge(&mut self, cpu: u32, truncated: u64);
}

/// Where a listener puts the kernel's own bytes.
pub trait MessageSink {
    /// One datagram of the kernel, from its `nlmsghdr` on: the exit of one task.
    fn datagram(&mut self, cpu: u32, datagram: &[u8], attributor: &mut Attributor<'_>);

    /// Exits of a CPU that the kernel dropped after those it delivered so far, and those of them whose
    /// cgroups are known.
    fn dropped(&mut self, cpu: u32, count: u64, by_cgroup: CgroupLosses);
}

/// Adds to the exits of one receive call what the filter of their socket stored.
#[derive(Debug)]
pub struct Attributor<'a> {
    slots: Option<&'a mut CgroupSlots>,
    clocks: Clocks,
}

/// The times at which one receive call returned.
#[derive(Clone, Copy, Debug)]
struct Clocks {
    unix_time: Duration,
    uptime: Duration,
    /// The time for which the oldest of the messages may have waited.
    longest_wait: Duration,
}

impl Clocks {
    /// The time since 1970 of an event that happened before these times, of which the low half of
    /// `CLOCK_BOOTTIME` in nanoseconds is known. `None` if the event may be older than that half wraps.
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
    /// Sets the cgroup and the end of an exit, if the filter stored them.
    fn attribute(&mut self, exit: &mut Exit) {
        let Some((slots, pid)) = self.slots.as_mut().zip(exit.task.identity.pid) else { return };
        let Some(seen) = slots.find(exit.kernel_sequence, pid) else { return };
        exit.owner = Some(Owner { cgroup: seen.cgroup, attribution: Attribution::Exact });
        exit.ended_at = self.clocks.resolve(seen.ended_low_ns);
    }
}

/// Decodes what it is given, for a sink that takes exits.
pub(crate) struct ExitDecoder<'a>(pub(crate) &'a mut dyn ExitSink);

impl MessageSink for ExitDecoder<'_> {
    fn datagram(&mut self, cpu: u32, datagram: &[u8], attributor: &mut Attributor<'_>) {
        for (sequence, attributes) in stats_messages(datagram) {
            match decode_exit(attributes, cpu, sequence) {
                Some(mut exit) => {
                    attributor.attribute(&mut exit);
                    self.0.exit(&exit);
                }
                // Counted, so that nothing is lost silently.
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
    /// Whether drops were told of since the queue was last empty.
    overflowed: bool,
    /// What the filter of the socket stored, if it has one.
    cgroups: Option<CgroupSlots>,
    /// The time since the boot at which the queue was last seen empty.
    emptied_at: Duration,
}

/// The queues of a listener.
#[derive(Debug)]
pub(crate) struct CpuQueues<S: DatagramSource> {
    queues: BTreeMap<u32, CpuQueue<S>>,
    inbox: S::Inbox,
    /// CPUs whose queues may hold messages.
    pub(crate) ready: Vec<u32>,
}

/// What one turn at a queue brought.
#[derive(Clone, Copy, Debug, Default)]
struct Turn {
    messages: usize,
    /// Whether the queue may hold more.
    more: bool,
    /// Whether it does, because its turn was over.
    cut_short: bool,
}

impl<S: DatagramSource> CpuQueues<S> {
    pub(crate) fn new(inbox: S::Inbox) -> Self {
        Self { queues: BTreeMap::new(), inbox, ready: Vec::new() }
    }

    /// Adds the queue of its CPU.
    pub(crate) fn insert(&mut self, queue: CpuQueue<S>) {
        // What arrived before somebody looked gave no sign.
        self.ready.push(queue.cpu);
        self.queues.insert(queue.cpu, queue);
    }

    /// Takes out a CPU's queue.
    pub(crate) fn remove(&mut self, cpu: u32) -> Option<CpuQueue<S>> {
        self.ready.retain(|ready| *ready != cpu);
        self.queues.remove(&cpu)
    }

    /// Takes out all queues.
    pub(crate) fn remove_all(&mut self) -> impl Iterator<Item = (u32, CpuQueue<S>)> + use<S> {
        self.ready.clear();
        std::mem::take(&mut self.queues).into_iter()
    }

    /// Empties a queue that was taken out, and tells its last drops.
    pub(crate) fn finish(&mut self, mut queue: CpuQueue<S>, sink: &mut impl MessageSink) -> S {
        while queue.take(Depth::Empty, &mut self.inbox, sink).more {}
        queue.check_drops(true, sink);
        queue.socket
    }

    /// Empties the queues that are ready.
    pub(crate) fn drain(&mut self, depth: Depth, sink: &mut impl MessageSink) -> Drained {
        let mut drained = Drained::default();
        let mut ready = std::mem::take(&mut self.ready);
        ready.retain(|cpu| {
            let Some(queue) = self.queues.get_mut(cpu) else { return false };
            let taken = queue.take(depth, &mut self.inbox, sink);
            drained.messages += taken.messages;
            drained.fullest = drained.fullest.max(taken.messages);
            drained.cut_short |= taken.cut_short;
            taken.more
        });
        self.ready = ready;
        drained
    }

    /// Reads all drop counters.
    pub(crate) fn check_drops(&mut self, sink: &mut impl MessageSink) {
        for queue in self.queues.values_mut() {
            queue.check_drops(false, sink);
        }
    }
}

impl<S: DatagramSource> CpuQueue<S> {
    /// A queue that nothing was received from.
    pub(crate) fn new(cpu: u32, socket: S, cgroups: Option<CgroupSlots>) -> Self {
        Self { socket, cpu, drops: 0, overflowed: false, cgroups, emptied_at: uptime() }
    }

    /// A queue that was read before, when its drop counter stood at `drops`. It may have overflowed
    /// since; the error that says so may have been taken.
    pub(crate) fn adopted(cpu: u32, socket: S, drops: u32, cgroups: Option<CgroupSlots>) -> Self {
        Self {
            socket,
            cpu,
            drops,
            overflowed: true,
            cgroups,
            // Messages may have waited since the boot.
            emptied_at: Duration::ZERO,
        }
    }

    /// Takes messages until the queue is as empty as wanted, or its turn is over.
    fn take(&mut self, depth: Depth, inbox: &mut S::Inbox, sink: &mut impl MessageSink) -> Turn {
        let mut messages = 0;
        for _ in 0..CALLS_A_TURN {
            match self.socket.receive_many(inbox) {
                Ok(count) => {
                    messages += count;
                    let all = count < inbox.slots();
                    self.deliver(inbox, count, sink);
                    // The queue was empty, so all that was dropped came after what it gave and before
                    // what it will give.
                    if all && std::mem::take(&mut self.overflowed) {
                        self.check_drops(true, sink);
                    }
                    // What arrived since waits for the next drain.
                    if all && depth == Depth::Shallow {
                        return Turn { messages, more: true, cut_short: false };
                    }
                }
                // Told once; the kernel goes on dropping until the queue is empty.
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => self.overflowed = true,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.emptied(&error, sink);
                    return Turn { messages, more: false, cut_short: false };
                }
            }
        }
        Turn { messages, more: true, cut_short: true }
    }

    /// Tells what was dropped: all of it came after all that the queue held.
    fn emptied(&mut self, error: &io::Error, sink: &mut impl MessageSink) {
        if error.kind() != io::ErrorKind::WouldBlock {
            tracing::error!(cpu = self.cpu, %error, "receiving exits failed");
        }
        self.emptied_at = uptime();
        if std::mem::take(&mut self.overflowed) {
            self.check_drops(true, sink);
        }
    }

    /// Reports new drops. `is_empty` says that the queue was just seen empty.
    fn check_drops(&mut self, is_empty: bool, sink: &mut impl MessageSink) {
        let drops = match self.socket.drops() {
            Ok(drops) => drops,
            Err(error) => {
                tracing::error!(cpu = self.cpu, %error, "reading the drop counter failed");
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

    /// Hands the first `count` messages of the inbox to the sink.
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
