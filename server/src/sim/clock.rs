//! The thread that advances a simulated machine in real time.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender, TryRecvError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::SharedWorld;

/// Exits that are closer together happen at one wake-up.
const STEP: Duration = Duration::from_millis(1);
/// Exits that happen while the world is locked once. Queries wait for the lock.
const EXITS_PER_LOCK: u32 = 64;
/// If the machine is further behind real time than this, the missing exits are skipped: their
/// messages are dropped and counted. So the requested rate is the rate of the exits, whatever this
/// CPU can simulate.
const MAX_LAG: Duration = Duration::from_millis(100);

/// The running thread.
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

    /// Ends the thread and waits for it.
    pub(super) fn stop(self) {
        drop(self.stop);
        if self.thread.join().is_err() {
            tracing::error!("the simulated clock panicked");
        }
    }
}

/// The state of the thread.
struct ClockDriver<'a> {
    shared: &'a SharedWorld,
    /// Disconnected to end the thread.
    stopped: &'a Receiver<()>,
    /// The time at which the machine's time was `base`.
    started: Instant,
    base: Duration,
    has_warned: bool,
}

impl<'a> ClockDriver<'a> {
    fn new(shared: &'a SharedWorld, stopped: &'a Receiver<()>) -> Self {
        let base = shared.world().now();
        Self { shared, stopped, started: Instant::now(), base, has_warned: false }
    }

    fn run(mut self) {
        while self.sleep() && self.step() {}
    }

    /// Waits until an exit is due. Returns false if the thread must end.
    fn sleep(&self) -> bool {
        let due = self.shared.world().next_exit();
        let ended = match due {
            // No exit will become due.
            None => self.stopped.recv().is_err(),
            Some(due) => {
                let sleep = due.saturating_sub(self.target()).max(STEP);
                self.stopped.recv_timeout(sleep) == Err(RecvTimeoutError::Disconnected)
            }
        };
        !ended
    }

    /// Returns the machine's time in real time.
    fn target(&self) -> Duration {
        self.base + self.started.elapsed()
    }

    /// Advances the machine to real time. Returns false if the thread must end.
    fn step(&mut self) -> bool {
        let until = self.target();
        loop {
            let (more, now) = self.advance(until);
            if self.target().saturating_sub(now) > MAX_LAG {
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

    /// Simulates a batch of exits. Returns whether more are due, and the machine's time.
    fn advance(&self, until: Duration) -> (bool, Duration) {
        let mut world = self.shared.world_for_clock();
        (world.advance_some(until, EXITS_PER_LOCK), world.now())
    }

    fn skip(&mut self) {
        if !std::mem::replace(&mut self.has_warned, true) {
            tracing::warn!(
                "this CPU cannot simulate exits at the requested rate; skipped exits are counted as lost"
            );
        }
        self.shared.world_for_clock().skip(self.target());
    }
}
