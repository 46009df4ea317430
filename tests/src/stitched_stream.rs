//! What a stream told, and the streams that continued it, as one: each exit once or within a gap.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use taskstats_proto::v1::{Cursor, Lost, LostStage};

use crate::partial_decode::{Event, Events, Kind};
use crate::selection::Selection;

/// What is kept of an exit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ObservedExit {
    /// The agent's number.
    pub sequence: u64,
    /// Where it happened.
    pub cpu: u32,
    /// The kernel's number, which counts what it sent on that CPU.
    pub kernel_sequence: u32,
    /// The process.
    pub tgid: u32,
    /// The task.
    pub pid: u32,
    /// Whether the process ended with it.
    pub ends_process: Option<bool>,
}

/// An interval in which exits were lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gap {
    /// The place before it.
    pub after: u64,
    /// The place after it.
    pub upto: u64,
    /// At which stage the last of its losses was.
    pub stage: LostStage,
    /// The CPU, where it is one.
    pub cpu: Option<u32>,
    /// How many exits of the stream; `None` when that was not told.
    pub count: Option<u64>,
}

/// What was told since some place of one run of the agent.
#[derive(Debug, Clone)]
pub struct StitchedStream {
    instance: String,
    begin: u64,
    position: u64,
    exits: Vec<ObservedExit>,
    gaps: Vec<Gap>,
    /// Sums of the stream that is read now, by stage.
    totals: BTreeMap<LostStage, u64>,
}

impl StitchedStream {
    /// Begins after `cursor`.
    #[must_use]
    pub fn begin(cursor: Cursor) -> Self {
        Self {
            instance: cursor.instance_id,
            begin: cursor.sequence,
            position: cursor.sequence,
            exits: Vec::new(),
            gaps: Vec::new(),
            totals: BTreeMap::new(),
        }
    }

    /// Notes that the next message is the first of another stream, which continues the last one.
    pub fn continued(&mut self) {
        self.totals.clear();
    }

    /// Notes a message.
    ///
    /// # Errors
    ///
    /// It repeats an exit, goes back, or contradicts itself.
    pub fn follow(&mut self, kind: &Kind) -> Result<()> {
        match kind {
            Kind::Started(_) => anyhow::bail!("the stream began twice"),
            Kind::Events(events) => self.apply_events(events),
            Kind::Lost(lost) => self.apply_lost(lost),
            Kind::Heartbeat(heartbeat) => self.advance(heartbeat.cursor.as_ref()),
            Kind::Workloads(_) => Ok(()),
        }
    }

    /// Returns the run of the agent that told it.
    #[must_use]
    pub fn instance(&self) -> &str {
        &self.instance
    }

    /// Returns the place after all that was told.
    #[must_use]
    pub fn cursor(&self) -> Cursor {
        Cursor { instance_id: self.instance.clone(), sequence: self.position }
    }

    /// Returns the sequence of [`StitchedStream::cursor`].
    #[must_use]
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Returns the sequence before the first exit.
    #[must_use]
    pub fn beginning(&self) -> u64 {
        self.begin
    }

    /// Returns the exits, in order.
    #[must_use]
    pub fn exits(&self) -> &[ObservedExit] {
        &self.exits
    }

    /// Returns the gaps, in order.
    #[must_use]
    pub fn gaps(&self) -> &[Gap] {
        &self.gaps
    }

    /// Forgets all exits after the one with this sequence, as who stops in the middle of a batch.
    pub fn cut(&mut self, sequence: u64) {
        self.exits.retain(|exit| exit.sequence <= sequence);
        self.gaps.retain(|gap| gap.upto <= sequence);
        self.position = sequence;
    }

    /// Forgets all up to a place, or to the last one told.
    pub fn forget(&mut self, sequence: u64) {
        let upto = sequence.min(self.position);
        self.exits.retain(|exit| exit.sequence > upto);
        self.gaps.retain(|gap| gap.upto > upto);
        self.begin = upto;
    }

    /// Compares with a stitched of everything: each exit of the selection is here, or is counted by the
    /// gap that it lies in, and nothing else is here. Returns how many gaps had no count.
    ///
    /// # Errors
    ///
    /// That is not so, or the reference does not reach as far as this stitched.
    pub fn reconcile(&self, selection: &Selection, reference: &Self) -> Result<usize> {
        ensure!(reference.instance == self.instance, "two runs of the agent");
        ensure!(reference.begin <= self.begin, "the witness came late");
        ensure!(reference.position >= self.position, "the witness is behind");
        let overtaken = reference.gaps.iter().find(|gap| gap.stage != LostStage::KernelSocket);
        ensure!(overtaken.is_none(), "the witness itself was overtaken: {overtaken:?}");
        let mut from = self.begin;
        let mut exits = self.exits.iter().peekable();
        let mut uncounted = 0;
        for gap in self.gaps.iter().copied().chain([self.end_of_trail()]) {
            let expected = reference.exits_of(selection, from, gap.after);
            for expected in expected {
                let told = exits.next();
                ensure!(told == Some(expected), "{selection}: told {told:?}, was {expected:?}");
            }
            let inside = exits.peek().is_some_and(|exit| exit.sequence <= gap.upto);
            ensure!(!inside, "{selection}: an exit inside {gap:?}");
            let lost = reference.count(selection, gap.after, gap.upto)?;
            let exact = gap.count.is_none_or(|count| count == lost);
            ensure!(exact, "{selection}: {lost} exits were lost, and {gap:?} was told");
            uncounted += usize::from(gap.count.is_none());
            from = gap.upto;
        }
        Ok(uncounted)
    }

    /// Counts what a selection takes of this stitched between two places, lost exits included.
    ///
    /// # Errors
    ///
    /// This is no stitched of everything, or it has a gap itself that it cannot be said of.
    pub fn count(&self, selection: &Selection, after: u64, upto: u64) -> Result<u64> {
        let exits = self.exits_of(selection, after, upto).count();
        let mut count = u64::try_from(exits)?;
        for gap in self.gaps.iter().filter(|gap| gap.after < upto && gap.upto > after) {
            let cpu = gap.cpu.context("a witness with a loss of no CPU")?;
            if selection.takes_cpu(cpu) {
                count += gap.upto.min(upto) - gap.after.max(after);
            }
        }
        Ok(count)
    }

    /// Checks that nothing is left out: a stitched of everything has no other holes than its gaps.
    ///
    /// # Errors
    ///
    /// There is a hole.
    pub fn ensure_complete(&self) -> Result<()> {
        let mut lost = 0;
        for gap in &self.gaps {
            lost += gap.count.context("a loss of unknown size")?;
        }
        let told = u64::try_from(self.exits.len())? + lost;
        let passed = self.position - self.begin;
        ensure!(told == passed, "{told} exits were told of {passed}");
        Ok(())
    }

    /// A gap of nothing where the stitched ends.
    fn end_of_trail(&self) -> Gap {
        let stage = LostStage::Unspecified;
        Gap { after: self.position, upto: self.position, stage, cpu: None, count: Some(0) }
    }

    fn exits_of(
        &self,
        selection: &Selection,
        after: u64,
        upto: u64,
    ) -> impl Iterator<Item = &ObservedExit> {
        let start = self.exits.partition_point(|exit| exit.sequence <= after);
        let rest = self.exits.iter().skip(start);
        let inside = rest.take_while(move |exit| exit.sequence <= upto);
        inside.filter(|exit| selection.takes(exit))
    }

    fn apply_events(&mut self, events: &Events) -> Result<()> {
        ensure!(!events.events.is_empty(), "a batch of nothing");
        for event in &events.events {
            let (position, sequence) = (self.position, event.sequence);
            ensure!(sequence > position, "exit {sequence} came after place {position}");
            self.position = sequence;
            self.exits.push(ObservedExit::try_from(event)?);
        }
        self.advance(events.cursor.as_ref())
    }

    fn apply_lost(&mut self, lost: &Lost) -> Result<()> {
        let stage = lost.stage();
        let total = self.totals.entry(stage).or_default();
        *total += lost.count.unwrap_or_default();
        ensure!(*total == lost.total, "losses sum up to {total}, the stream says {}", lost.total);
        ensure!(lost.count != Some(0), "a loss of nothing");
        let after = self.position;
        self.advance(lost.cursor.as_ref())?;
        let (upto, cpu, count) = (self.position, lost.cpu, lost.count);
        match self.gaps.last_mut().filter(|gap| gap.upto == upto && after == upto) {
            // Another loss of the same interval, at another stage.
            Some(gap) => {
                gap.count = gap.count.zip(count).map(|(one, other)| one + other);
                gap.stage = stage;
            }
            None => self.gaps.push(Gap { after, upto, stage, cpu, count }),
        }
        Ok(())
    }

    fn advance(&mut self, cursor: Option<&Cursor>) -> Result<()> {
        let cursor = cursor.context("a message without its place")?;
        ensure!(cursor.instance_id == self.instance, "a cursor of another run");
        let (said, known) = (cursor.sequence, self.position);
        ensure!(said >= known, "the cursor says {said} after {known}");
        self.position = said;
        Ok(())
    }
}

impl TryFrom<&Event> for ObservedExit {
    type Error = anyhow::Error;

    fn try_from(event: &Event) -> Result<Self> {
        let identity = event.task.as_ref().and_then(|task| task.identity.as_ref());
        let identity = identity.context("an exit of nobody")?;
        Ok(Self {
            sequence: event.sequence,
            cpu: event.cpu,
            kernel_sequence: event.kernel_sequence,
            tgid: identity.tgid.context("an exit without process")?,
            pid: identity.pid.context("an exit without task")?,
            ends_process: event.last_in_process,
        })
    }
}

#[cfg(test)]
mod tests;
