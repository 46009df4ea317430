//! When to drain: at once while exits are few, in steps while they are many.
//!
//! Waking at every exit pre-empts the workload that is watched, and each delivery costs tens of
//! microseconds whatever it carries. So the reader behaves like a network driver: the first exits
//! after a quiet time are taken at once, and when too many of them came one by one it sleeps between
//! drains, as long as each drain finds enough to be worth the sleep.

use std::time::{Duration, Instant};

use crate::taskstats::Drained;

/// Drains at once that a burst may take before it is paced. A shell pipeline's end fits.
const BURST: f64 = 16.0;
/// Immediate drains in a second that are permitted without end: more would cost a tenth of a CPU.
const IMMEDIATE_PER_SECOND: f64 = 2000.0;
/// A paced drain that finds fewer messages than this was not worth the sleep: the rate is below
/// [`IMMEDIATE_PER_SECOND`] at the usual pace of 2 ms.
const WORTHWHILE: usize = 3;
/// Paced drains that must not have been worth it, one after the other, before pacing ends.
const PATIENCE: u32 = 2;
/// At so many messages a drain, waking watchers costs more than the latency that it saves.
const FULL_LOAD: usize = 24;
/// Announcements are this many paces apart under full load: a drain costs some 15 µs beside its
/// messages, waking a watcher several times as much.
const PACES_PER_ANNOUNCEMENT: u32 = 5;
/// Drains for one announcement under full load. More would not help: exits that are drained earlier are
/// not announced earlier.
const DRAINS_PER_ANNOUNCEMENT: u32 = 2;
/// Memory that the kernel counts for one message (`skb->truesize`) when it is largest: a message with
/// two records lies in a 2 KiB block beside the socket buffer's own 256 bytes.
const MESSAGE_MEMORY: usize = 2304;
/// A drain that finds more than this share of a full queue, one in ..., shortens the next pace.
const SAFE_SHARE: usize = 4;

/// Decides when the reader drains and announces.
#[derive(Debug)]
pub(super) struct Pacer {
    pace: Duration,
    /// Messages that a queue may hold at a drain without the pace being shortened.
    safe_messages: usize,
    /// Drains at once that are left.
    credit: f64,
    credited_at: Instant,
    announced_at: Instant,
    mode: Mode,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// Wait for the next message and drain.
    Immediate,
    /// Sleep, then drain. Counts the drains that were not worth it.
    Paced { futile: u32 },
}

/// The step of the reader after a drain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct DrainPlan {
    /// True if watchers are to be woken now.
    pub(super) announce: bool,
    /// The sleep before the next drain; `None` to wait for a message.
    pub(super) sleep: Option<Duration>,
}

impl Pacer {
    /// Paces drains by `pace`, with queues of `receive_buffer` bytes as asked of the kernel, which
    /// doubles them. A pace of zero drains at once always.
    pub(super) fn new(pace: Duration, receive_buffer: usize, now: Instant) -> Self {
        Self {
            pace,
            safe_messages: 2 * receive_buffer / MESSAGE_MEMORY / SAFE_SHARE,
            credit: BURST,
            credited_at: now,
            announced_at: now,
            mode: Mode::Immediate,
        }
    }

    /// Returns the next step after a drain.
    pub(super) fn after_drain(&mut self, drained: Drained, now: Instant) -> DrainPlan {
        self.mode = self.next_mode(drained.messages, now);
        match self.mode {
            Mode::Immediate => {
                self.announced_at = now;
                DrainPlan { announce: true, sleep: None }
            }
            Mode::Paced { .. } => {
                let between = self.pace * PACES_PER_ANNOUNCEMENT;
                let full_load = drained.messages >= FULL_LOAD;
                let pace = if full_load { between / DRAINS_PER_ANNOUNCEMENT } else { self.pace };
                let announce = !full_load || now >= self.announced_at + between;
                if announce {
                    self.announced_at = now;
                }
                DrainPlan { announce, sleep: Some(self.safe(pace, drained.fullest)) }
            }
        }
    }

    fn next_mode(&mut self, messages: usize, now: Instant) -> Mode {
        match self.mode {
            Mode::Immediate => {
                let at_once = messages == 0 || self.pace.is_zero() || self.spend(now);
                if at_once { Mode::Immediate } else { Mode::Paced { futile: 0 } }
            }
            Mode::Paced { .. } if messages >= WORTHWHILE => Mode::Paced { futile: 0 },
            Mode::Paced { futile } if messages > 0 && futile < PATIENCE => {
                Mode::Paced { futile: futile + 1 }
            }
            Mode::Paced { .. } => {
                self.credit = BURST;
                self.credited_at = now;
                Mode::Immediate
            }
        }
    }

    /// Spends the credit of one drain at once, if there is any.
    fn spend(&mut self, now: Instant) -> bool {
        let earned = (now - self.credited_at).as_secs_f64() * IMMEDIATE_PER_SECOND;
        self.credit = (self.credit + earned).min(BURST) - 1.0;
        self.credited_at = now;
        self.credit >= 0.0
    }

    /// A pace, shortened in proportion when a queue held more than its safe share.
    fn safe(&self, pace: Duration, fullest: usize) -> Duration {
        if fullest <= self.safe_messages {
            return pace;
        }
        if self.safe_messages == 0 {
            return Duration::ZERO;
        }
        let times_too_full = u32::try_from(fullest / self.safe_messages).unwrap_or(u32::MAX);
        pace / times_too_full.saturating_add(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACE: Duration = Duration::from_millis(2);
    const BUFFER: usize = 8 << 20;
    const AT_ONCE: DrainPlan = DrainPlan { announce: true, sleep: None };

    fn found(messages: usize) -> Drained {
        Drained { messages, fullest: messages, cut_short: false }
    }

    /// Drains of one message each, `every` so often, until `count` are over.
    fn drip(pacer: &mut Pacer, start: Instant, every: Duration, count: u32) -> Vec<DrainPlan> {
        (1..=count).map(|i| pacer.after_drain(found(1), start + every * i)).collect()
    }

    /// Spends the burst, so that pacing begins.
    fn exhaust(pacer: &mut Pacer, start: Instant) {
        let paced = |_| pacer.after_drain(found(1), start).sleep.is_some();
        assert!((0..100).any(paced), "a burst is paced");
    }

    #[test]
    fn a_thousand_a_second_are_never_paced() {
        let start = Instant::now();
        let mut pacer = Pacer::new(PACE, BUFFER, start);
        let steps = drip(&mut pacer, start, Duration::from_millis(1), 5000);
        assert!(steps.iter().all(|step| *step == AT_ONCE));
    }

    #[test]
    fn ten_thousand_a_second_are_paced_after_a_burst() {
        let start = Instant::now();
        let mut pacer = Pacer::new(PACE, BUFFER, start);
        let steps = drip(&mut pacer, start, Duration::from_micros(100), 100);
        let immediate = steps.iter().take_while(|step| **step == AT_ONCE).count();
        assert!((16..30).contains(&immediate), "{immediate} drains at once");
        assert_eq!(steps[immediate].sleep, Some(PACE));
    }

    #[test]
    fn pacing_ends_when_drains_find_nothing() {
        let start = Instant::now();
        let mut pacer = Pacer::new(PACE, BUFFER, start);
        exhaust(&mut pacer, start);
        assert_eq!(pacer.after_drain(found(10), start + PACE).sleep, Some(PACE));
        assert_eq!(pacer.after_drain(found(0), start + 2 * PACE), AT_ONCE);
    }

    #[test]
    fn under_full_load_watchers_are_woken_less_often_than_queues_are_drained() {
        let start = Instant::now();
        let mut pacer = Pacer::new(PACE, BUFFER, start);
        exhaust(&mut pacer, start);
        let mut now = start;
        let (mut drains, mut announced) = (0, 0);
        while now < start + PACE * 50 {
            let step = pacer.after_drain(found(200), now);
            now += step.sleep.unwrap();
            drains += 1;
            announced += i32::from(step.announce);
        }
        assert_eq!((drains, announced), (20, 9));
    }

    #[test]
    fn a_filling_queue_is_drained_sooner_and_a_tiny_one_at_once() {
        let start = Instant::now();
        let mut pacer = Pacer::new(PACE, BUFFER, start);
        exhaust(&mut pacer, start);
        let half_full = 2 * BUFFER / MESSAGE_MEMORY / 2;
        let sleep = pacer.after_drain(found(half_full), start + PACE).sleep.unwrap();
        assert!(sleep < PACE, "{sleep:?}");
        let mut tiny = Pacer::new(PACE, 4096, start);
        exhaust(&mut tiny, start);
        assert_eq!(tiny.after_drain(found(3), start + PACE).sleep, Some(Duration::ZERO));
    }

    #[test]
    fn a_pace_of_zero_never_sleeps() {
        let start = Instant::now();
        let mut pacer = Pacer::new(Duration::ZERO, BUFFER, start);
        let steps = drip(&mut pacer, start, Duration::from_micros(1), 100);
        assert!(steps.iter().all(|step| *step == AT_ONCE));
    }
}
