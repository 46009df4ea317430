//! Stretches of the exits of a CPU, in a stream and in what the kernel sent, and whether they agree.

use anyhow::{Context, Result, bail};
use taskstats_proto::v1::{ExitEvent, Lost};

use crate::kernel::SeenExit;
use crate::watch::{Watch, is_exit_of};

/// The exits of one CPU behind that of one process up to that of another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// The CPU.
    pub cpu: u32,
    /// The process whose exit stands before the first exit.
    pub begin: u32,
    /// The process whose exit is the last one.
    pub end: u32,
}

/// How many exits a stream had to tell of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Booked {
    /// Exits that were events.
    pub received: u64,
    /// Exits that were counted as lost.
    pub lost: u64,
}

/// A span by the agent's sequence numbers.
#[derive(Debug, Clone, Copy)]
struct Numbered {
    cpu: u32,
    begin: u64,
    end: u64,
}

/// Counts the exits that the kernel sent in some spans, one for each CPU.
///
/// # Errors
///
/// The witness did not hear where a span begins or ends.
pub fn sent(exits: &[SeenExit], spans: &[Span]) -> Result<u64> {
    let mut count = 0;
    for span in spans {
        let mut ids = Vec::new();
        for exit in exits.iter().filter(|exit| exit.cpu == span.cpu) {
            ids.push((exit.known_tgid()?, exit.pid()?));
        }
        let of = |tgid: Option<u32>, pid: u32| tgid.is_none_or(|tgid| tgid == pid);
        let place = |end: u32| ids.iter().position(|(tgid, pid)| *pid == end && of(*tgid, end));
        let begin = place(span.begin).context("the witness missed a beginning")?;
        let end = place(span.end).context("the witness missed an end")?;
        count += u64::try_from(end.checked_sub(begin).context("a span ends before it begins")?)?;
    }
    Ok(count)
}

/// Counts the exits that a stream of all CPUs told of in some spans, one for each CPU.
///
/// # Errors
///
/// The stream did not see where a span begins or ends, or a loss lies across such a place.
pub fn booked(watch: &Watch, spans: &[Span]) -> Result<Booked> {
    let numbered = spans.iter().map(|span| Numbered::find(watch.seen(), span));
    let numbered = numbered.collect::<Result<Vec<_>>>()?;
    let mut booked = Booked::default();
    for event in watch.seen() {
        let mut own = numbered.iter().filter(|span| span.cpu == event.cpu);
        booked.received += u64::from(own.any(|span| span.contains(event.sequence)));
    }
    for lost in watch.losses() {
        if is_inside(lost, &numbered)? {
            booked.lost += lost.count.context("a loss of unknown size")?;
        }
    }
    Ok(booked)
}

impl Booked {
    /// Returns how many exits there were.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.received + self.lost
    }
}

impl Numbered {
    fn find(seen: &[ExitEvent], span: &Span) -> Result<Self> {
        let sequence = |pid: u32| {
            let event = seen.iter().find(|event| is_exit_of(event, pid, pid));
            Ok::<_, anyhow::Error>(event.with_context(|| format!("no exit of {pid}"))?.sequence)
        };
        Ok(Self { cpu: span.cpu, begin: sequence(span.begin)?, end: sequence(span.end)? })
    }

    fn contains(&self, sequence: u64) -> bool {
        self.begin < sequence && sequence <= self.end
    }
}

/// A loss of one CPU is compared with that CPU's span. One of several CPUs must not lie where some
/// of the spans have begun or ended and others have not.
fn is_inside(lost: &Lost, spans: &[Numbered]) -> Result<bool> {
    let last = lost.cursor.as_ref().context("a loss without its place")?.sequence;
    let concerned = spans.iter().filter(|span| lost.cpu.is_none_or(|cpu| cpu == span.cpu));
    let inside: Vec<_> = concerned.map(|span| span.contains(last)).collect();
    match (inside.iter().any(|inside| *inside), inside.iter().all(|inside| *inside)) {
        (false, _) => Ok(false),
        (true, true) => Ok(true),
        (true, false) => bail!("a loss across the edge of a span: {lost:?}"),
    }
}
