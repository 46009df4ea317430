//! A socket's receive queue, with the rules of the kernel's netlink (`net/netlink/af_netlink.c`).

use std::collections::{VecDeque, vec_deque};
use std::io;
use std::iter::Take;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::netlink::Received;
use crate::taskstats::Wake;
use crate::taskstats::drain::{DatagramSlots, DatagramSource};

/// What the kernel counts for a message beside its bytes: `struct skb_shared_info` behind them, in
/// the same block,
const SHARED_INFO_BYTES: usize = 320;
/// and `struct sk_buff`. Blocks are powers of two.
const SOCKET_BUFFER_BYTES: usize = 256;

/// Messages taken at once.
const SLOTS: usize = 64;

/// What a message of so many bytes takes of a receive buffer (`skb->truesize`): 1280 for a task's
/// record of v16, 2304 with its group's.
pub(super) fn truesize(length: usize) -> usize {
    (length + SHARED_INFO_BYTES).next_power_of_two() + SOCKET_BUFFER_BYTES
}

/// One bound socket.
#[derive(Debug)]
pub(super) struct SimSocket {
    queue: Mutex<ReceiveQueue>,
    bell: Arc<ReadyList>,
    /// What the bell calls it.
    number: u32,
    purpose: Purpose,
}

/// What a socket is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Exits that somebody watches.
    Watch,
    /// A self-test.
    Probe,
}

#[derive(Debug)]
struct ReceiveQueue {
    messages: VecDeque<QueuedMessage>,
    /// The sum of the messages' true sizes.
    charged: usize,
    limit: usize,
    drops: u32,
    /// `NETLINK_S_CONGESTED`: dropping until the queue is empty.
    congested: bool,
    /// `sk_err`: an `ENOBUFS` that was not told yet.
    overflowed: bool,
    /// Whether the bell has rung since the last look.
    told: bool,
}

#[derive(Debug)]
struct QueuedMessage {
    bytes: Vec<u8>,
    /// Whether it will not fit into the receiver's room.
    truncated: bool,
}

/// What happens to a message on its way, on purpose.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct InjectedFaults {
    /// The socket is found full although it is not.
    pub(super) no_memory: bool,
    /// The message will not fit into the receiver's room.
    pub(super) truncated: bool,
}

impl SimSocket {
    /// Opens a socket with an empty queue of at most `limit` bytes of true size.
    pub(super) fn new(limit: usize, bell: Arc<ReadyList>, number: u32, purpose: Purpose) -> Self {
        let queue = ReceiveQueue {
            messages: VecDeque::new(),
            charged: 0,
            limit,
            drops: 0,
            congested: false,
            overflowed: false,
            told: false,
        };
        Self { queue: Mutex::new(queue), bell, number, purpose }
    }

    /// Whether its messages are counted among those sent.
    pub(super) fn is_watched(&self) -> bool {
        self.purpose == Purpose::Watch
    }

    /// Delivers a message of `length` bytes, or drops it (`netlink_attachskb`). A message that will
    /// be dropped is not made: that is what lets a million a second be offered.
    pub(super) fn deliver(
        &self,
        length: usize,
        faults: InjectedFaults,
        make: impl FnOnce() -> Vec<u8>,
    ) {
        let truesize = truesize(length);
        let mut queue = self.lock();
        // A message always fits into an empty queue, however small.
        let fits = queue.charged == 0 || queue.charged + truesize <= queue.limit;
        if queue.congested || faults.no_memory || !fits {
            queue.overrun(1);
        } else {
            queue.charged += truesize;
            queue.messages.push_back(QueuedMessage { bytes: make(), truncated: faults.truncated });
        }
        let ring = !std::mem::replace(&mut queue.told, true);
        drop(queue);
        if ring {
            self.bell.ring(self.number);
        }
    }

    /// Drops so many messages that nobody had the time to make.
    pub(super) fn drop_skipped(&self, count: u32) {
        let mut queue = self.lock();
        queue.overrun(count);
        let ring = !std::mem::replace(&mut queue.told, true);
        drop(queue);
        if ring {
            self.bell.ring(self.number);
        }
    }

    fn lock(&self) -> MutexGuard<'_, ReceiveQueue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ReceiveQueue {
    /// Drops messages (`netlink_overrun`).
    fn overrun(&mut self, count: u32) {
        if !std::mem::replace(&mut self.congested, true) {
            self.overflowed = true;
        }
        self.drops = self.drops.wrapping_add(count);
    }

    fn receive_many(&mut self, inbox: &mut SimInbox) -> io::Result<usize> {
        self.told = false;
        if std::mem::take(&mut self.overflowed) {
            self.wake_senders();
            return Err(io::Error::from_raw_os_error(libc::ENOBUFS));
        }
        let count = self.messages.len().min(inbox.slots());
        inbox.messages.clear();
        inbox.messages.extend(self.messages.drain(..count));
        let taken = inbox.messages.iter().map(|message| truesize(message.bytes.len()));
        self.charged -= taken.sum::<usize>();
        self.wake_senders();
        if count == 0 { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(count) }
    }

    /// Ends the dropping when the queue is empty (`netlink_rcv_wake`), and gives back the memory of
    /// a burst.
    fn wake_senders(&mut self) {
        if self.messages.is_empty() {
            self.congested = false;
            if self.messages.capacity() > SLOTS {
                self.messages.shrink_to(SLOTS);
            }
        }
    }
}

impl DatagramSource for Arc<SimSocket> {
    type Inbox = SimInbox;

    fn receive_many(&self, inbox: &mut SimInbox) -> io::Result<usize> {
        self.lock().receive_many(inbox)
    }

    fn drops(&self) -> io::Result<u32> {
        Ok(self.lock().drops)
    }
}

/// Messages taken from a queue.
#[derive(Debug, Default)]
pub(super) struct SimInbox {
    messages: VecDeque<QueuedMessage>,
}

impl DatagramSlots for SimInbox {
    fn slots(&self) -> usize {
        SLOTS
    }

    fn received(&self, count: usize) -> impl Iterator<Item = Received<'_>> {
        let messages: Take<vec_deque::Iter<'_, QueuedMessage>> = self.messages.iter().take(count);
        messages.map(|message| {
            if message.truncated { Received::Truncated } else { Received::Datagram(&message.bytes) }
        })
    }

    /// Whether a message fits was decided when it was sent.
    fn enlarge(&mut self, cpu: u32, truncated: u64) {
        tracing::debug!(cpu, truncated, "simulated messages were cut short");
    }
}

/// Tells a listener which of its sockets have something, edge by edge as epoll does.
#[derive(Debug, Default)]
pub(super) struct ReadyList {
    rung: Mutex<ReadyState>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct ReadyState {
    numbers: Vec<u32>,
    woken: bool,
}

impl ReadyState {
    fn is_silent(&self) -> bool {
        self.numbers.is_empty() && !self.woken
    }
}

impl ReadyList {
    fn ring(&self, number: u32) {
        self.lock().numbers.push(number);
        self.changed.notify_one();
    }

    /// Waits until the bell rings, is used to wake, or the time is over; appends the numbers of the
    /// sockets that rang.
    pub(super) fn wait(&self, timeout: Option<Duration>, numbers: &mut Vec<u32>) {
        let silent = |rung: &mut ReadyState| rung.is_silent();
        let rung = self.lock();
        let mut rung = match timeout {
            Some(timeout) => {
                let waited = self.changed.wait_timeout_while(rung, timeout, silent);
                waited.unwrap_or_else(PoisonError::into_inner).0
            }
            None => self.changed.wait_while(rung, silent).unwrap_or_else(PoisonError::into_inner),
        };
        rung.woken = false;
        numbers.append(&mut rung.numbers);
    }

    fn lock(&self) -> MutexGuard<'_, ReadyState> {
        self.rung.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends a wait at a bell.
#[derive(Debug)]
pub(super) struct ReadyListWaker(pub(super) Arc<ReadyList>);

impl Wake for ReadyListWaker {
    fn wake(&self) {
        self.0.lock().woken = true;
        self.0.changed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MESSAGE: usize = 596;
    const NO_MEMORY: InjectedFaults = InjectedFaults { no_memory: true, truncated: false };

    fn socket(messages: usize) -> Arc<SimSocket> {
        let limit = messages * truesize(MESSAGE);
        Arc::new(SimSocket::new(limit, Arc::default(), 3, Purpose::Watch))
    }

    fn send(socket: &SimSocket, count: usize) {
        (0..count)
            .for_each(|_| socket.deliver(MESSAGE, InjectedFaults::default(), || vec![7; MESSAGE]));
    }

    fn errno(outcome: io::Result<usize>) -> Option<i32> {
        outcome.unwrap_err().raw_os_error()
    }

    #[test]
    fn messages_take_what_the_kernel_counts_for_them() {
        assert_eq!((truesize(596), truesize(1172)), (1280, 2304));
    }

    /// One `ENOBUFS`, whatever was dropped, and drops until the queue is empty.
    #[test]
    fn a_full_queue_drops_until_it_is_empty() {
        let (socket, mut inbox) = (socket(100), SimInbox::default());
        send(&socket, 105);
        assert_eq!(errno(socket.receive_many(&mut inbox)), Some(libc::ENOBUFS));
        assert_eq!(socket.receive_many(&mut inbox).unwrap(), SLOTS);
        send(&socket, 3);
        assert_eq!(socket.drops().unwrap(), 8, "there is room, but it is not empty");
        assert_eq!(socket.receive_many(&mut inbox).unwrap(), 36, "and no second error");
        send(&socket, 1);
        assert_eq!(socket.receive_many(&mut inbox).unwrap(), 1);
        let error = socket.receive_many(&mut inbox).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        assert_eq!(socket.drops().unwrap(), 8);
    }

    #[test]
    fn an_empty_queue_takes_one_message_however_small_it_is() {
        let (socket, mut inbox) = (socket(0), SimInbox::default());
        send(&socket, 2);
        assert_eq!(errno(socket.receive_many(&mut inbox)), Some(libc::ENOBUFS));
        assert_eq!(socket.receive_many(&mut inbox).unwrap(), 1);
        assert_eq!(socket.drops().unwrap(), 1);
    }

    #[test]
    fn a_message_without_memory_is_a_drop() {
        let (socket, mut inbox) = (socket(10), SimInbox::default());
        socket.deliver(MESSAGE, NO_MEMORY, || unreachable!("it is not made"));
        assert_eq!(errno(socket.receive_many(&mut inbox)), Some(libc::ENOBUFS));
        send(&socket, 1);
        assert_eq!(socket.receive_many(&mut inbox).unwrap(), 1, "the queue was empty");
    }

    /// A bell rings once for all that comes before somebody looks, and again afterwards.
    #[test]
    fn the_bell_rings_at_edges() {
        let (socket, mut inbox, mut numbers) = (socket(100), SimInbox::default(), Vec::new());
        send(&socket, 2);
        socket.bell.wait(None, &mut numbers);
        assert_eq!(numbers, [3]);
        assert_eq!(socket.receive_many(&mut inbox).unwrap(), 2);
        send(&socket, 1);
        socket.bell.wait(None, &mut numbers);
        assert_eq!(numbers, [3, 3]);
        ReadyListWaker(Arc::clone(&socket.bell)).wake();
        socket.bell.wait(None, &mut numbers);
        assert_eq!(numbers.len(), 2, "woken without a socket");
    }
}
