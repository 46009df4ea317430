//! `GetPid` of a sandboxed agent, whose broker queries the kernel, compared with one that kept its privileges.

use std::time::{Duration, Instant};

use anyhow::Result;
use tokio::runtime;

use super::Bench;
use super::query::{CALLERS, Call, Caller, PORT, TURNS, connect_all, turn};
use crate::host::Host;
use crate::number::{float, median, microseconds};
use crate::report::Report;

/// The name in figures.
pub(super) const NAME: &str = "sandbox";

/// The figure of the default.
pub(crate) const CONFINED: &str = "median of a lone caller, GetPid, sandbox";
/// The figure without.
pub(crate) const FREE: &str = "median of a lone caller, GetPid, --no-sandbox";
/// The same with many callers at once.
pub(crate) const CONFINED_TOGETHER: &str = "32 callers, GetPid, sandbox";
pub(crate) const FREE_TOGETHER: &str = "32 callers, GetPid, --no-sandbox";
const _: () = assert!(CALLERS == 32, "the figures name the callers");

/// Both agents run at once and alternate, call by call, so that noise of the machine affects both;
/// the first one alternates with the round.
pub(super) fn round(bench: &Bench, round: u32, report: &mut Report) -> Result<()> {
    let confined = Host::start(bench.agent(), &PORT)?;
    let free = Host::start(bench.agent(), &[&PORT[..], &["--no-sandbox"]].concat())?;
    let variants = [(CONFINED, confined.address()), (FREE, free.address())];
    let variants = super::rotated(&variants, round);
    let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
    let duration = Duration::from_secs(u64::from(bench.seconds()));
    runtime.block_on(take_turns(&variants, duration, report))?;
    let ports = [(CONFINED_TOGETHER, confined.port()?), (FREE_TOGETHER, free.port()?)];
    runtime.block_on(together(&super::rotated(&ports, round), duration, report))
}

pub(super) fn relate(report: &mut Report) -> Result<()> {
    report.relate(NAME, CONFINED, FREE)?;
    report.relate(NAME, CONFINED_TOGETHER, FREE_TOGETHER)
}

/// Alternates the agents, [`TURNS`] times.
async fn together(
    variants: &[(&str, &str)],
    duration: Duration,
    report: &mut Report,
) -> Result<()> {
    let mut agents = Vec::new();
    for (figure, port) in variants {
        let callers = connect_all(&port.replacen("tcp:", "http:", 1)).await?;
        agents.push((*figure, callers, 0));
    }
    for _ in 0..TURNS {
        for (_, callers, answered) in &mut agents {
            *answered += turn(callers, Call::GetPid, duration / TURNS).await?;
        }
    }
    for (figure, _, answered) in agents {
        report.record(NAME, figure, "calls/s", float(answered) / duration.as_secs_f64());
    }
    Ok(())
}

async fn take_turns(
    variants: &[(&str, &str)],
    duration: Duration,
    report: &mut Report,
) -> Result<()> {
    let mut callers = Vec::new();
    for (figure, address) in variants {
        callers.push((*figure, Caller::connect(address).await?, Vec::new()));
    }
    let end = Instant::now() + duration;
    while Instant::now() < end {
        for (_, caller, times) in &mut callers {
            let begin = Instant::now();
            caller.call(Call::GetPid).await?;
            times.push(microseconds(begin.elapsed()));
        }
    }
    for (figure, _, times) in &callers {
        report.record(NAME, *figure, "µs", median(times));
    }
    Ok(())
}
