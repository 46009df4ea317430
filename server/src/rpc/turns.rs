//! Turns of the streams that are behind.
//!
//! The event loop has one thread. A stream that is behind the newest exit has its next message ready
//! whenever it is polled, and making and sending one costs some 50 µs. If all such streams were
//! runnable at once, every other call would wait for a message of each of them. So they queue, and
//! the loop polls its sockets and runs what became ready before each turn.

use tokio::sync::{mpsc, oneshot};
use tokio::task::yield_now;
use tokio_util::task::AbortOnDropHandle;

/// The queue of streams that are behind.
#[derive(Debug)]
pub(super) struct Turns {
    queue: mpsc::UnboundedSender<oneshot::Sender<()>>,
    /// Grants turns until the last stream is gone. The task does not depend on the stream that has
    /// the turn: HTTP/2 flow control can stop that one at any time.
    _granting: AbortOnDropHandle<()>,
}

impl Turns {
    /// Starts to grant turns, on the current runtime.
    pub(super) fn start() -> Self {
        let (queue, waiting) = mpsc::unbounded_channel();
        Self { queue, _granting: AbortOnDropHandle::new(tokio::spawn(grant(waiting))) }
    }

    /// Waits for the caller's turn. The queue is first in, first out; it holds a caller once.
    pub(super) async fn wait(&self) {
        let (turn, granted) = oneshot::channel();
        if self.queue.send(turn).is_ok() {
            // An error means that the runtime shuts down and turns are over.
            granted.await.unwrap_or_default();
        }
    }
}

/// Grants one turn in each round of the event loop: tokio wakes a task that yielded only after it
/// polled its sockets.
async fn grant(mut waiting: mpsc::UnboundedReceiver<oneshot::Sender<()>>) {
    while let Some(turn) = waiting.recv().await {
        if !turn.is_closed() {
            yield_now().await;
            // The stream may have ended meanwhile.
            turn.send(()).unwrap_or_default();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::rc::Rc;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::UnixStream;
    use tokio::task::LocalSet;

    use super::*;

    const STREAMS: usize = 64;
    const ROUNDS: u64 = 100;

    /// Sends bytes to an echo through a socket, while [`STREAMS`] tasks use every turn that they get.
    /// Returns the number of turns in that time.
    async fn turns_during_rounds() -> u64 {
        let (turns, taken) = (Rc::new(Turns::start()), Rc::new(Cell::new(0)));
        for _ in 0..STREAMS {
            let (turns, taken) = (Rc::clone(&turns), Rc::clone(&taken));
            tokio::task::spawn_local(async move {
                loop {
                    turns.wait().await;
                    taken.set(taken.get() + 1);
                }
            });
        }
        let (mut near, mut far) = UnixStream::pair().unwrap();
        tokio::task::spawn_local(async move {
            while let Ok(byte) = far.read_u8().await {
                far.write_u8(byte).await.unwrap();
            }
        });
        for _ in 0..ROUNDS {
            near.write_u8(1).await.unwrap();
            near.read_u8().await.unwrap();
        }
        taken.get()
    }

    #[tokio::test]
    async fn a_socket_is_polled_between_two_turns() {
        let turns = LocalSet::new().run_until(turns_during_rounds()).await;
        assert!(turns > 0, "streams have turns meanwhile");
        assert!(turns <= 4 * ROUNDS, "{turns} turns in {ROUNDS} rounds");
    }

    #[tokio::test]
    async fn a_stream_that_ended_in_the_queue_keeps_no_other_from_its_turn() {
        let turns = Turns::start();
        tokio::select! {
            biased;
            () = turns.wait() => unreachable!("no turn is granted at once"),
            () = std::future::ready(()) => {}
        }
        turns.wait().await;
    }
}
