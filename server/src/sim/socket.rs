//! The receive queue of a socket, with the rules of the kernel's netlink
//! (`net/netlink/af_netlink.c`).

use std::collections::{VecDeque, vec_deque};
use std::io;
use std::iter::Take;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::netlink::Received;
use crate::taskstats::Wake;
use crate::taskstats::drain::{DatagramSlots, DatagramSource};

/// The size of `struct skb_shared_info`, which follows a message in the same block of memory.
const SHARED_INFO_BYTES: usize = 320;
/// The size of `struct sk_buff`. Blocks are powers of two.
const SOCKET_BUFFER_BYTES: usize = 256;

/// Messages received at once.
const SLOTS: usize = 64;

/// Returns the memory that the kernel charges to the receive buffer for a message of `length` bytes
/// (`skb->truesize`): 1280 for a task's record of v16, 2304 with its group's.
pub(super) fn truesize(length: usize) -> usize {
    (length + SHARED_INFO_BYTES).next_power_of_two() + SOCKET_BUFFER_BYTES
}

/// A bound socket.
#[derive(Debug)]
pub(super) struct SimSocket {
    queue: Mutex<ReceiveQueue>,
    ready_list: Arc<ReadyList>,
    /// The socket's number in the ready list.
    number: u32,
    purpose: Purpose,
}

/// The use of a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Exits for watchers.
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
    /// `NETLINK_S_CONGESTED`: messages are dropped until the queue is empty.
    congested: bool,
    /// `sk_err`: an `ENOBUFS` that was not returned yet.
    overflowed: bool,
    /// Set if the socket was added to the ready list since the last read.
    is_listed: bool,
}

#[derive(Debug)]
struct QueuedMessage {
    bytes: Vec<u8>,
    /// Set if it will not fit into the receiver's slot.
    truncated: bool,
}

/// Faults injected into the delivery of a message.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct InjectedFaults {
    /// The queue is treated as full.
    pub(super) no_memory: bool,
    /// The message will not fit into the receiver's slot.
    pub(super) truncated: bool,
}

impl SimSocket {
    /// Opens a socket with an empty queue of at most `limit` bytes of true size.
    pub(super) fn new(
        limit: usize,
        ready_list: Arc<ReadyList>,
        number: u32,
        purpose: Purpose,
    ) -> Self {
        let queue = ReceiveQueue {
            messages: VecDeque::new(),
            charged: 0,
            limit,
            drops: 0,
            congested: false,
            overflowed: false,
            is_listed: false,
        };
        Self { queue: Mutex::new(queue), ready_list, number, purpose }
    }

    /// Returns whether its messages are counted as sent.
    pub(super) fn is_watched(&self) -> bool {
        self.purpose == Purpose::Watch
    }

    /// Delivers a message of `length` bytes, or drops it (`netlink_attachskb`). A dropped message
    /// is not encoded, which makes a million exits a second possible.
    pub(super) fn deliver(
        &self,
        length: usize,
        faults: InjectedFaults,
        make: impl FnOnce() -> Vec<u8>,
    ) {
        let truesize = truesize(length);
        let mut queue = self.lock();
        // A message always fits into an empty queue, however small the limit.
        let fits = queue.charged == 0 || queue.charged + truesize <= queue.limit;
        if queue.congested || faults.no_memory || !fits {
            queue.overrun(1);
        } else {
            queue.charged += truesize;
            queue.messages.push_back(QueuedMessage { bytes: make(), truncated: faults.truncated });
        }
        let is_new = !std::mem::replace(&mut queue.is_listed, true);
        drop(queue);
        if is_new {
            self.ready_list.add(self.number);
        }
    }

    /// Drops messages of skipped exits, which were never encoded.
    pub(super) fn drop_skipped(&self, count: u32) {
        let mut queue = self.lock();
        queue.overrun(count);
        let is_new = !std::mem::replace(&mut queue.is_listed, true);
        drop(queue);
        if is_new {
            self.ready_list.add(self.number);
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
        self.is_listed = false;
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

    /// Stops dropping when the queue is empty (`netlink_rcv_wake`), and frees the memory of a
    /// burst.
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

/// Messages received from a queue.
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

    /// Does nothing but log: sending decides whether a message fits.
    fn enlarge(&mut self, cpu: u32, truncated: u64) {
        tracing::debug!(cpu, truncated, "simulated messages were truncated");
    }
}

/// The sockets of a listener with queued messages, reported edge-triggered as by epoll.
#[derive(Debug, Default)]
pub(super) struct ReadyList {
    state: Mutex<ReadyState>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct ReadyState {
    numbers: Vec<u32>,
    woken: bool,
}

impl ReadyState {
    fn is_empty(&self) -> bool {
        self.numbers.is_empty() && !self.woken
    }
}

impl ReadyList {
    fn add(&self, number: u32) {
        self.lock().numbers.push(number);
        self.changed.notify_one();
    }

    /// Waits until a socket is ready, the waker was used, or the timeout expires. Appends the
    /// numbers of ready sockets.
    pub(super) fn wait(&self, timeout: Option<Duration>, numbers: &mut Vec<u32>) {
        let is_empty = |state: &mut ReadyState| state.is_empty();
        let state = self.lock();
        let mut state = match timeout {
            Some(timeout) => {
                let waited = self.changed.wait_timeout_while(state, timeout, is_empty);
                waited.unwrap_or_else(PoisonError::into_inner).0
            }
            None => {
                self.changed.wait_while(state, is_empty).unwrap_or_else(PoisonError::into_inner)
            }
        };
        state.woken = false;
        numbers.append(&mut state.numbers);
    }

    fn lock(&self) -> MutexGuard<'_, ReadyState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends a wait at a ready list.
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
    fn messages_are_charged_like_in_the_kernel() {
        assert_eq!((truesize(596), truesize(1172)), (1280, 2304));
    }

    /// The kernel returns one `ENOBUFS` however many messages were dropped, and drops until the
    /// queue is empty.
    #[test]
    fn a_full_queue_drops_until_it_is_empty() {
        let (socket, mut inbox) = (socket(100), SimInbox::default());
        send(&socket, 105);
        assert_eq!(errno(socket.receive_many(&mut inbox)), Some(libc::ENOBUFS));
        assert_eq!(socket.receive_many(&mut inbox).unwrap(), SLOTS);
        send(&socket, 3);
        assert_eq!(socket.drops().unwrap(), 8, "it has space, but is not empty");
        assert_eq!(socket.receive_many(&mut inbox).unwrap(), 36, "and no second error");
        send(&socket, 1);
        assert_eq!(socket.receive_many(&mut inbox).unwrap(), 1);
        let error = socket.receive_many(&mut inbox).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        assert_eq!(socket.drops().unwrap(), 8);
    }

    #[test]
    fn an_empty_queue_accepts_one_message_whatever_its_limit() {
        let (socket, mut inbox) = (socket(0), SimInbox::default());
        send(&socket, 2);
        assert_eq!(errno(socket.receive_many(&mut inbox)), Some(libc::ENOBUFS));
        assert_eq!(socket.receive_many(&mut inbox).unwrap(), 1);
        assert_eq!(socket.drops().unwrap(), 1);
    }

    #[test]
    fn a_message_without_memory_is_a_drop() {
        let (socket, mut inbox) = (socket(10), SimInbox::default());
        socket.deliver(MESSAGE, NO_MEMORY, || unreachable!("it is not encoded"));
        assert_eq!(errno(socket.receive_many(&mut inbox)), Some(libc::ENOBUFS));
        send(&socket, 1);
        assert_eq!(socket.receive_many(&mut inbox).unwrap(), 1, "the queue was empty");
    }

    /// A socket is listed once for all messages before the next read, and again for those after it.
    #[test]
    fn the_ready_list_is_edge_triggered() {
        let (socket, mut inbox, mut numbers) = (socket(100), SimInbox::default(), Vec::new());
        send(&socket, 2);
        socket.ready_list.wait(None, &mut numbers);
        assert_eq!(numbers, [3]);
        assert_eq!(socket.receive_many(&mut inbox).unwrap(), 2);
        send(&socket, 1);
        socket.ready_list.wait(None, &mut numbers);
        assert_eq!(numbers, [3, 3]);
        ReadyListWaker(Arc::clone(&socket.ready_list)).wake();
        socket.ready_list.wait(None, &mut numbers);
        assert_eq!(numbers.len(), 2, "woken without a socket");
    }
}
