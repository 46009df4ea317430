//! The thread that moves a simulated machine on with real time.

use std::io;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Arc, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::Shared;

/// Exits closer together than this happen in one go, so that many of them do not mean many
/// wake-ups.
const STEP: Duration = Duration::from_millis(1);
/// Exits made while the world is held, which those who ask for something wait for.
const BATCH: u32 = 64;
/// When the machine falls behind real time by more, what is beyond is skipped: it cannot catch up.
const MOST_BEHIND: Duration = Duration::from_millis(100);

/// A running clock.
#[derive(Debug)]
pub(super) struct Clock {
    /// Dropped to end the thread.
    stop: Sender<()>,
    thread: JoinHandle<Duration>,
}

impl Clock {
    pub(super) fn start(shared: Arc<Shared>) -> io::Result<Self> {
        let (stop, stopped) = mpsc::channel::<()>();
        let run = move || {
            let mut pacemaker = Pacemaker::new(&shared);
            loop {
                let waited = match pacemaker.sleep() {
                    // Nothing will ever happen by itself.
                    None => stopped.recv().map_err(|_| RecvTimeoutError::Disconnected),
                    Some(sleep) => stopped.recv_timeout(sleep),
                };
                if waited == Err(RecvTimeoutError::Disconnected) {
                    return pacemaker.skipped;
                }
                if !pacemaker.step(&|| stopped.try_recv() == Err(mpsc::TryRecvError::Disconnected)) {
                    return pacemaker.skipped;
                }
            }
        };
        let thread = thread::Builder::new().name("sim-clock".to_owned()).spawn(run)?;
        Ok(Self { stop, thread })
    }

    /// Ends the thread; returns how much time the machine skipped because it fell behind.
    pub(super) fn stop(self) -> Duration {
        drop(self.stop);
        self.thread.join().unwrap_or_else(|_| {
            tracing::error!("the simulated clock panicked");
            Duration::ZERO
        })
    }
}

/// Where the machine's time should be.
struct Pacemaker<'a> {
    shared: &'a Shared,
    /// When the machine's time was `base`.
    began: Instant,
    base: Duration,
    skipped: Duration,
}

impl<'a> Pacemaker<'a> {
    fn new(shared: &'a Shared) -> Self {
        let base = shared.world().now();
        Self { shared, began: Instant::now(), base, skipped: Duration::ZERO }
    }

    /// How long nothing is due; `None` for ever.
    fn sleep(&self) -> Option<Duration> {
        let due = self.shared.world().next_exit()?;
        Some(due.saturating_sub(self.target()).max(STEP))
    }

    fn target(&self) -> Duration {
        self.base + self.began.elapsed() - self.skipped
    }

    /// Has happen what is due; false when the end has come meanwhile.
    fn step(&mut self, ended: &dyn Fn() -> bool) -> bool {
        let until = self.target();
        loop {
            // Not through `Shared::world`, which would have this thread wait for itself.
            let mut world = self.shared.world.lock().unwrap_or_else(PoisonError::into_inner);
            let more = world.advance_some(until, BATCH);
            let now = world.now();
            drop(world);
            self.skip(now);
            if ended() {
                return false;
            }
            if !more {
                return true;
            }
            self.shared.give_way();
        }
    }

    /// Gives up what cannot be caught up with.
    fn skip(&mut self, now: Duration) {
        let behind = self.target().saturating_sub(now);
        if behind <= MOST_BEHIND {
            return;
        }
        if self.skipped.is_zero() {
            tracing::warn!(
                ?behind,
                "the simulated machine cannot keep its rate: its time passes slower than real time"
            );
        }
        self.skipped += behind - MOST_BEHIND;
    }
}
