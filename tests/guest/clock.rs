//! The clock of the wall, which is set under a running agent: only in a machine that has nothing
//! else.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use nix::sys::time::TimeSpec;
use nix::time::{ClockId, clock_gettime, clock_settime};
use prost_types::Timestamp;

const HOUR: i64 = 3600;
/// The changes of the clock, one after the other: forward, back beyond the start, and back to the
/// right time.
pub(crate) const STEPS: [i64; 3] = [HOUR, -2 * HOUR, HOUR];
/// The largest difference between two clocks that are read one after the other on a slow machine.
/// Steps are much longer.
const WOBBLE: Duration = Duration::from_secs(30);

/// Sets the clock forward by so many seconds.
pub(crate) fn set_by(seconds: i64) -> Result<()> {
    let clock = ClockId::CLOCK_REALTIME;
    let now = clock_gettime(clock)?;
    let wanted = TimeSpec::new(now.tv_sec() + seconds, now.tv_nsec());
    clock_settime(clock, wanted).context("set the clock")
}

/// An event, by a clock that is not set.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Happened(Instant);

impl Happened {
    pub(crate) fn now() -> Self {
        Self(Instant::now())
    }

    /// The machine started.
    pub(crate) fn at_boot() -> Result<Self> {
        let uptime = clock_gettime(ClockId::CLOCK_BOOTTIME)?;
        let at = Instant::now().checked_sub(uptime.into());
        at.map(Self).context("a machine that is older than its clock")
    }

    /// Checks that the agent's timestamp of the event is in the past, and as old as the event,
    /// whatever the clock was meanwhile.
    pub(crate) fn ensure_reported(self, reported: Option<&Timestamp>) -> Result<()> {
        let reported = since_1970(reported.context("no timestamp")?)?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
        let ago = now
            .checked_sub(reported)
            .with_context(|| format!("{reported:?} is later than {now:?}"))?;
        let wobble = ago.abs_diff(self.0.elapsed());
        ensure!(wobble < WOBBLE, "reported {ago:?} ago, was {:?} ago", self.0.elapsed());
        Ok(())
    }
}

/// A time of the contract.
pub(crate) fn since_1970(reported: &Timestamp) -> Result<Duration> {
    Ok(SystemTime::try_from(*reported)?.duration_since(UNIX_EPOCH)?)
}
