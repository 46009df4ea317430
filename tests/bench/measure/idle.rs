//! The wake-ups of an idle agent.
//!
//! Other tasks of the machine exit now and then, and their exits wake the agent. So the watcher of
//! this measurement notes each message, and only the time between messages counts as silence:
//! slices of time without a message whose neighbours have none either. Heartbeats are messages too,
//! so they and their cost are left out.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::unistd::Pid;
use tokio::runtime;
use tokio::time::{self, MissedTickBehavior};

use super::Bench;
use crate::host::Host;
use crate::number::float;
use crate::procfs;
use crate::report::Report;
use crate::watch;

/// The name in figures.
pub(super) const NAME: &str = "idle";

/// The events of one slice of time.
#[derive(Clone, Copy, Debug, Default)]
struct Slice {
    length: Duration,
    messages: u64,
    wake_ups: u64,
}

/// The silence of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Silence {
    length: Duration,
    wake_ups: u64,
}

/// Longer than the agent processes an exit after its message has arrived, and short enough to find
/// silence between the exits of a busy machine.
const SLICE: Duration = Duration::from_millis(50);
/// A machine that is silent for less than one part in so many is waited for no longer.
const PATIENCE: u32 = 2;
/// A result from less than this part of the requested silence is not reported.
const LEAST_SHARE: u32 = 4;
const MINUTE: Duration = Duration::from_secs(60);

/// Runs once, because short rounds would miss rare wake-ups.
pub(super) fn once(bench: &Bench, report: &mut Report) -> Result<()> {
    let agent = Host::start(bench.agent(), &[])?;
    let wanted = Duration::from_secs(u64::from(bench.idle_seconds()));
    let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
    let slices = runtime.block_on(listen(agent.address(), agent.pid(), wanted))?;
    let silence = silence_in(&slices);
    let messages = slices.iter().map(|slice| slice.messages).sum();
    let wake_ups = slices.iter().map(|slice| slice.wake_ups).sum();
    report.record(NAME, "messages", "messages", float(messages));
    report.record(NAME, "wake-ups in all", "wake-ups", float(wake_ups));
    report.record(NAME, "silence", "s", silence.length.as_secs_f64());
    report.record(NAME, "wake-ups in silence", "wake-ups", float(silence.wake_ups));
    if silence.length * LEAST_SHARE < wanted {
        eprintln!("too many tasks exit on this machine to find silence");
        return Ok(());
    }
    let a_minute = float(silence.wake_ups) * MINUTE.div_duration_f64(silence.length);
    report.record(NAME, "wake-ups in 60 s of silence", "wake-ups", a_minute);
    Ok(())
}

/// Watches all exits until there was as much silence as wanted, or not enough of it in a multiple
/// of that time.
async fn listen(address: &str, agent: Pid, wanted: Duration) -> Result<Vec<Slice>> {
    let mut stream = watch::subscribe(&mut watch::connect(address).await?, watch::all()).await?;
    let mut ticks = time::interval(SLICE);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let begin = Instant::now();
    let mut before = (begin, procfs::wake_ups(agent)?);
    let mut slices = Vec::new();
    let mut messages = 0;
    while begin.elapsed() < wanted * PATIENCE && silence_in(&slices).length < wanted {
        tokio::select! {
            message = stream.message() => {
                message?.context("the agent ended a stream")?;
                messages += 1;
            }
            _ = ticks.tick() => {
                let now = (Instant::now(), procfs::wake_ups(agent)?);
                let length = now.0 - before.0;
                let wake_ups = now.1.saturating_sub(before.1);
                slices.push(Slice { length, messages, wake_ups });
                (before, messages) = (now, 0);
            }
        }
    }
    Ok(slices)
}

fn silence_in(slices: &[Slice]) -> Silence {
    let silent = |slice: &Slice| slice.messages == 0;
    let silent = slices.array_windows().filter(|[a, b, c]| silent(a) && silent(b) && silent(c));
    silent.fold(Silence::default(), |sum, [_, slice, _]| Silence {
        length: sum.length + slice.length,
        wake_ups: sum.wake_ups + slice.wake_ups,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slices(messages: &[u64]) -> Vec<Slice> {
        let slice = |&messages| Slice { length: SLICE, messages, wake_ups: 1 };
        messages.iter().map(slice).collect()
    }

    /// An exit just before a slice may still be at work in it, and one just after it may have woken
    /// the agent in it already.
    #[test]
    fn the_neighbours_of_a_message_are_not_silent() {
        assert_eq!(silence_in(&slices(&[0, 0, 2, 0, 0])), Silence::default());
        let expected = Silence { length: SLICE * 2, wake_ups: 2 };
        assert_eq!(silence_in(&slices(&[0, 0, 0, 0, 1, 0, 0])), expected);
    }
}
