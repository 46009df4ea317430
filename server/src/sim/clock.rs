//! The thread that moves a simulated machine on with real time.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender, TryRecvError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::SharedWorld;

/// Exits closer together than this happen in one go, so that many of them do not mean many
/// wake-ups.
const STEP: Duration = Duration::from_millis(1);
/// Exits made while the world is held, which those who ask for something wait for.
const BATCH: u32 = 64;
/// When the machine falls behind real time by more, it does not work out what it has not got to: those
/// exits are dropped on the way. So the rate that was asked for is the rate that is offered.
const MOST_BEHIND: Duration = Duration::from_millis(100);

/// A running clock.
#[derive(Debug)]
pub(super) struct SimClock {
    /// Dropped to end the thread.
    stop: Sender<()>,
    thread: JoinHandle<()>,
}

impl SimClock {
    pub(super) fn start(shared: Arc<SharedWorld>) -> io::Result<Self> {
        let (stop, stopped) = mpsc::channel();
        let run = move || ClockDriver::new(&shared, &stopped).run();
        let thread = thread::Builder::new().name("sim-clock".to_owned()).spawn(run)?;
        Ok(Self { stop, thread })
    }

    /// Ends the thread.
    pub(super) fn stop(self) {
        drop(self.stop);
        if self.thread.join().is_err() {
            tracing::error!("the simulated clock panicked");
        }
    }
}

/// Where the machine's time should be.
struct ClockDriver<'a> {
    shared: &'a SharedWorld,
    /// Disconnected when the end has come.
    stopped: &'a Receiver<()>,
    /// When the machine's time was `base`.
    began: Instant,
    base: Duration,
    has_warned: bool,
}

impl<'a> ClockDriver<'a> {
    fn new(shared: &'a SharedWorld, stopped: &'a Receiver<()>) -> Self {
        let base = shared.world().now();
        Self { shared, stopped, began: Instant::now(), base, has_warned: false }
    }

    fn run(mut self) {
        while self.sleep() && self.step() {}
    }

    /// Waits until something is due; false when the end has come.
    fn sleep(&self) -> bool {
        let due = self.shared.world().next_exit();
        let ended = match due {
            // Nothing will ever happen by itself.
            None => self.stopped.recv().is_err(),
            Some(due) => {
                let sleep = due.saturating_sub(self.target()).max(STEP);
                self.stopped.recv_timeout(sleep) == Err(RecvTimeoutError::Disconnected)
            }
        };
        !ended
    }

    /// Where the machine's time should be.
    fn target(&self) -> Duration {
        self.base + self.began.elapsed()
    }

    /// Has happen what is due; false when the end has come meanwhile.
    fn step(&mut self) -> bool {
        let until = self.target();
        loop {
            let (more, now) = self.advance(until);
            if self.target().saturating_sub(now) > MOST_BEHIND {
                self.skip();
            }
            if self.stopped.try_recv() == Err(TryRecvError::Disconnected) {
                return false;
            }
            if !more {
                return true;
            }
            self.shared.yield_to_waiters();
        }
    }

    /// Makes a batch of exits; tells whether there are more, and the machine's time.
    fn advance(&self, until: Duration) -> (bool, Duration) {
        let mut world = self.shared.world_for_clock();
        (world.advance_some(until, BATCH), world.now())
    }

    fn skip(&mut self) {
        if !std::mem::replace(&mut self.has_warned, true) {
            tracing::warn!(
                "the simulation cannot work out its exits in time: those that it does not get to are \
                 dropped on the way, and counted as lost"
            );
        }
        self.shared.world_for_clock().skip(self.target());
    }
}
