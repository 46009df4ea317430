//! Ranges of the exits of a CPU, to compare a stream with what the kernel sent.

use anyhow::{Context, Result, bail};
use taskstats_proto::v1::{ExitEvent, Lost};

use crate::kernel::SeenExit;
use crate::watch::{Watch, is_exit_of};

/// The exits of one CPU behind that of one process up to that of another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExitRange {
    /// The CPU.
    pub cpu: u32,
    /// The process whose exit stands before the first exit.
    pub begin: u32,
    /// The process whose exit is the last one.
    pub end: u32,
}

/// The number of exits that a stream reported.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Reported {
    /// Exits that were events.
    pub received: u64,
    /// Exits that were counted as lost.
    pub lost: u64,
}

/// A range by the agent's sequence numbers.
#[derive(Debug, Clone, Copy)]
struct Numbered {
    cpu: u32,
    begin: u64,
    end: u64,
}

/// Counts the exits that the kernel sent in some ranges, one for each CPU.
///
/// # Errors
///
/// The reference listener did not receive the first or the last exit of a range.
pub fn sent(exits: &[SeenExit], ranges: &[ExitRange]) -> Result<u64> {
    let mut count = 0;
    for range in ranges {
        let mut ids = Vec::new();
        for exit in exits.iter().filter(|exit| exit.cpu == range.cpu) {
            ids.push((exit.known_tgid()?, exit.pid()?));
        }
        let of = |tgid: Option<u32>, pid: u32| tgid.is_none_or(|tgid| tgid == pid);
        let place = |end: u32| ids.iter().position(|(tgid, pid)| *pid == end && of(*tgid, end));
        let begin = place(range.begin).context("the reference listener missed the first exit")?;
        let end = place(range.end).context("the reference listener missed the last exit")?;
        count += u64::try_from(end.checked_sub(begin).context("a span ends before it begins")?)?;
    }
    Ok(count)
}

/// Counts the exits that a stream of all CPUs reported in some ranges, one for each CPU.
///
/// # Errors
///
/// The stream does not have the first or the last exit of a range, or a loss lies across one of
/// them.
pub fn reported(watch: &Watch, ranges: &[ExitRange]) -> Result<Reported> {
    let numbered = ranges.iter().map(|range| Numbered::find(watch.seen(), range));
    let numbered = numbered.collect::<Result<Vec<_>>>()?;
    let mut reported = Reported::default();
    for event in watch.seen() {
        let mut own = numbered.iter().filter(|range| range.cpu == event.cpu);
        reported.received += u64::from(own.any(|range| range.contains(event.sequence)));
    }
    for lost in watch.losses() {
        if is_inside(lost, &numbered)? {
            reported.lost += lost.count.context("a loss of unknown size")?;
        }
    }
    Ok(reported)
}

impl Reported {
    /// Returns how many exits there were.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.received + self.lost
    }
}

impl Numbered {
    fn find(seen: &[ExitEvent], range: &ExitRange) -> Result<Self> {
        let sequence = |pid: u32| {
            let event = seen.iter().find(|event| is_exit_of(event, pid, pid));
            Ok::<_, anyhow::Error>(event.with_context(|| format!("no exit of {pid}"))?.sequence)
        };
        Ok(Self { cpu: range.cpu, begin: sequence(range.begin)?, end: sequence(range.end)? })
    }

    fn contains(&self, sequence: u64) -> bool {
        self.begin < sequence && sequence <= self.end
    }
}

/// A loss of one CPU is compared with that CPU's range. One of several CPUs must not lie where some
/// of the ranges have begun or ended and others have not.
fn is_inside(lost: &Lost, ranges: &[Numbered]) -> Result<bool> {
    let last = lost.cursor.as_ref().context("a loss without a cursor")?.sequence;
    let concerned = ranges.iter().filter(|range| lost.cpu.is_none_or(|cpu| cpu == range.cpu));
    let inside: Vec<_> = concerned.map(|range| range.contains(last)).collect();
    match (inside.iter().any(|inside| *inside), inside.iter().all(|inside| *inside)) {
        (false, _) => Ok(false),
        (true, true) => Ok(true),
        (true, false) => bail!("a loss across the edge of a span: {lost:?}"),
    }
}
