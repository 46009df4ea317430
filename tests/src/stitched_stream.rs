//! The exits and gaps of a stream and of the streams that resumed it: each exit is reported once or
//! lies within a gap.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use taskstats_proto::v1::{Cursor, Lost, LostStage};

use crate::partial_decode::{Event, Events, Kind};
use crate::selection::Selection;

/// The part of an exit that is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ObservedExit {
    /// The agent's number.
    pub sequence: u64,
    /// The CPU.
    pub cpu: u32,
    /// The kernel's sequence number, which counts the messages of that CPU.
    pub kernel_sequence: u32,
    /// The process.
    pub tgid: u32,
    /// The task.
    pub pid: u32,
    /// True if the process ended with it.
    pub ends_process: Option<bool>,
}

/// An interval in which exits were lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gap {
    /// The sequence number before it.
    pub after: u64,
    /// The sequence number after it.
    pub upto: u64,
    /// At which stage the last of its losses was.
    pub stage: LostStage,
    /// The CPU, where it is one.
    pub cpu: Option<u32>,
    /// The number of lost exits of the stream; `None` if it was not reported.
    pub count: Option<u64>,
}

/// The exits and gaps of one run of the agent, from some cursor on.
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
    /// Starts after `cursor`.
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
    /// The message repeats an exit, goes back, or contradicts itself.
    pub fn follow(&mut self, kind: &Kind) -> Result<()> {
        match kind {
            Kind::Started(_) => anyhow::bail!("the stream began twice"),
            Kind::Events(events) => self.apply_events(events),
            Kind::Lost(lost) => self.apply_lost(lost),
            Kind::Heartbeat(heartbeat) => self.advance(heartbeat.cursor.as_ref()),
            Kind::Workloads(_) => Ok(()),
        }
    }

    /// Returns the instance id of the agent's run.
    #[must_use]
    pub fn instance(&self) -> &str {
        &self.instance
    }

    /// Returns the cursor after everything received.
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

    /// Discards all exits after this sequence number, like a client that stops in the middle of a
    /// batch.
    pub fn cut(&mut self, sequence: u64) {
        self.exits.retain(|exit| exit.sequence <= sequence);
        self.gaps.retain(|gap| gap.upto <= sequence);
        self.position = sequence;
    }

    /// Discards everything up to a sequence number, or up to the last one received.
    pub fn forget(&mut self, sequence: u64) {
        let upto = sequence.min(self.position);
        self.exits.retain(|exit| exit.sequence > upto);
        self.gaps.retain(|gap| gap.upto > upto);
        self.begin = upto;
    }

    /// Compares with a stream of all exits: each exit of the selection is here or is counted by the
    /// gap that it lies in, and there are no others. Returns the number of gaps without a count.
    ///
    /// # Errors
    ///
    /// The streams differ, or the reference does not reach as far as this one.
    pub fn reconcile(&self, selection: &Selection, reference: &Self) -> Result<usize> {
        ensure!(reference.instance == self.instance, "two runs of the agent");
        ensure!(reference.begin <= self.begin, "the reference begins later");
        ensure!(reference.position >= self.position, "the reference ends earlier");
        let overtaken = reference.gaps.iter().find(|gap| gap.stage != LostStage::KernelSocket);
        ensure!(overtaken.is_none(), "the reference has a gap of the history: {overtaken:?}");
        let mut from = self.begin;
        let mut exits = self.exits.iter().peekable();
        let mut uncounted = 0;
        for gap in self.gaps.iter().copied().chain([self.end_of_trail()]) {
            let expected = reference.exits_of(selection, from, gap.after);
            for expected in expected {
                let reported = exits.next();
                ensure!(
                    reported == Some(expected),
                    "{selection}: received {reported:?}, expected {expected:?}"
                );
            }
            let inside = exits.peek().is_some_and(|exit| exit.sequence <= gap.upto);
            ensure!(!inside, "{selection}: an exit inside {gap:?}");
            let lost = reference.count(selection, gap.after, gap.upto)?;
            let exact = gap.count.is_none_or(|count| count == lost);
            ensure!(exact, "{selection}: {lost} exits were lost, and {gap:?} was reported");
            uncounted += usize::from(gap.count.is_none());
            from = gap.upto;
        }
        Ok(uncounted)
    }

    /// Counts the exits of a selection between two sequence numbers, lost exits included.
    ///
    /// # Errors
    ///
    /// This is not a stream of all exits, or it has a gap whose CPU is unknown.
    pub fn count(&self, selection: &Selection, after: u64, upto: u64) -> Result<u64> {
        let exits = self.exits_of(selection, after, upto).count();
        let mut count = u64::try_from(exits)?;
        for gap in self.gaps.iter().filter(|gap| gap.after < upto && gap.upto > after) {
            let cpu = gap.cpu.context("a reference with a loss without a CPU")?;
            if selection.takes_cpu(cpu) {
                count += gap.upto.min(upto) - gap.after.max(after);
            }
        }
        Ok(count)
    }

    /// Checks that a stream of all exits has no other holes than its gaps.
    ///
    /// # Errors
    ///
    /// There is a hole.
    pub fn ensure_complete(&self) -> Result<()> {
        let mut lost = 0;
        for gap in &self.gaps {
            lost += gap.count.context("a loss of unknown size")?;
        }
        let reported = u64::try_from(self.exits.len())? + lost;
        let passed = self.position - self.begin;
        ensure!(reported == passed, "{reported} of {passed} exits were reported");
        Ok(())
    }

    /// Returns an empty gap at the end.
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
        ensure!(!events.events.is_empty(), "a batch without events");
        for event in &events.events {
            let (position, sequence) = (self.position, event.sequence);
            ensure!(sequence > position, "exit {sequence} came after {position}");
            self.position = sequence;
            self.exits.push(ObservedExit::try_from(event)?);
        }
        self.advance(events.cursor.as_ref())
    }

    fn apply_lost(&mut self, lost: &Lost) -> Result<()> {
        let stage = lost.stage();
        let total = self.totals.entry(stage).or_default();
        *total += lost.count.unwrap_or_default();
        ensure!(*total == lost.total, "the losses add up to {total}, not to {}", lost.total);
        ensure!(lost.count != Some(0), "a loss of 0 exits");
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
        let cursor = cursor.context("a message without a cursor")?;
        ensure!(cursor.instance_id == self.instance, "a cursor of another run");
        let (output, known) = (cursor.sequence, self.position);
        ensure!(output >= known, "the cursor {output} after {known}");
        self.position = output;
        Ok(())
    }
}

impl TryFrom<&Event> for ObservedExit {
    type Error = anyhow::Error;

    fn try_from(event: &Event) -> Result<Self> {
        let identity = event.task.as_ref().and_then(|task| task.identity.as_ref());
        let identity = identity.context("an exit without identity")?;
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
