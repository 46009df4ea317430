//! `GetPid` of a sandboxed agent, compared with one that kept its privileges.

use std::time::{Duration, Instant};

use anyhow::Result;
use tokio::runtime;

use super::Bench;
use super::query::{Call, Caller};
use crate::host::Host;
use crate::number::{median, microseconds};
use crate::report::Report;

/// The name in figures.
pub(super) const NAME: &str = "sandbox";

/// The figure of the default.
pub(crate) const CONFINED: &str = "median of a lone caller, GetPid, sandbox";
/// The figure without.
pub(crate) const FREE: &str = "median of a lone caller, GetPid, --no-sandbox";

/// Both agents run at once and alternate, call by call, so that noise of the machine affects both;
/// the first one alternates with the round.
pub(super) fn round(bench: &Bench, round: u32, report: &mut Report) -> Result<()> {
    let confined = Host::start(bench.agent(), &[])?;
    let free = Host::start(bench.agent(), &["--no-sandbox"])?;
    let variants = [(CONFINED, confined.address()), (FREE, free.address())];
    let variants = super::rotated(&variants, round);
    let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
    let duration = Duration::from_secs(u64::from(bench.seconds()));
    runtime.block_on(take_turns(&variants, duration, report))
}

pub(super) fn relate(report: &mut Report) -> Result<()> {
    report.relate(NAME, CONFINED, FREE)
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
