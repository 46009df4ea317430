//! Checks that a stream reports every exit once, as an event or as part of a loss.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use taskstats_proto::v1::watch_exits_response::Kind;
use taskstats_proto::v1::{Cursor, ExitEvents, Heartbeat, Lost, LostStage, WatchStarted};

/// Checks a stream of all tasks on all CPUs: there each sequence number either belongs to an event
/// or is counted by a loss.
#[derive(Debug, Clone)]
pub struct SequenceCheck {
    instance: String,
    /// The sequence number after which the stream begins. It is not 0 where tasks exited between
    /// the registration with the kernel and the first message.
    beginning: u64,
    position: u64,
    /// The cursor of the last message. Each of several losses of one interval has the cursor after
    /// all of them.
    cursor: u64,
    received: u64,
    lost: BTreeMap<LostStage, u64>,
}

impl SequenceCheck {
    /// Begins at the cursor of the stream's first message.
    ///
    /// # Errors
    ///
    /// The first message has no cursor.
    pub fn open(started: &WatchStarted) -> Result<Self> {
        let cursor = started.cursor.as_ref().context("the stream begins without a cursor")?;
        ensure!(cursor.instance_id == started.instance_id, "cursor of another run");
        Ok(Self::at(&started.instance_id, cursor.sequence))
    }

    /// Begins at `after`, the cursor that the stream resumes from. Exits that the agent no longer
    /// has are reported as a loss. A cursor of another run stands before all exits of this run.
    ///
    /// # Errors
    ///
    /// The stream begins at another cursor: a client that stops before the first loss would miss
    /// it.
    pub fn resume(started: &WatchStarted, after: &Cursor) -> Result<Self> {
        let begin = started.cursor.as_ref();
        ensure!(begin == Some(after), "wanted {after:?}, the stream begins at {begin:?}");
        let same_run = after.instance_id == started.instance_id;
        Ok(Self::at(&started.instance_id, if same_run { after.sequence } else { 0 }))
    }

    fn at(instance: &str, position: u64) -> Self {
        let instance = instance.to_owned();
        let (beginning, cursor) = (position, position);
        Self { instance, beginning, position, cursor, received: 0, lost: BTreeMap::new() }
    }

    /// Checks the next message.
    ///
    /// # Errors
    ///
    /// The message repeats or leaves out an exit, or contradicts itself.
    pub fn apply(&mut self, kind: &Kind) -> Result<()> {
        match kind {
            Kind::Started(_) => anyhow::bail!("the stream began twice"),
            Kind::Events(events) => self.apply_events(events),
            Kind::Lost(lost) => self.apply_lost(lost),
            Kind::Heartbeat(heartbeat) => self.apply_heartbeat(heartbeat),
            Kind::Workloads(_) => Ok(()),
        }
    }

    /// Checks that the counts of the last losses add up to their cursor.
    ///
    /// # Errors
    ///
    /// The counts do not add up.
    pub fn ensure_counts_complete(&self) -> Result<()> {
        let (cursor, counted) = (self.cursor, self.position);
        ensure!(cursor == counted, "the cursor is {cursor}, the counts reach {counted}");
        Ok(())
    }

    /// Returns the sequence number after which the stream begins.
    #[must_use]
    pub fn beginning(&self) -> u64 {
        self.beginning
    }

    /// Returns the sequence number of the last exit that was received or counted as lost.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Returns the number of exits that were received.
    #[must_use]
    pub fn received(&self) -> u64 {
        self.received
    }

    /// Returns the number of exits that were lost at `stage`.
    #[must_use]
    pub fn lost(&self, stage: LostStage) -> u64 {
        self.lost.get(&stage).copied().unwrap_or_default()
    }

    /// Returns the number of exits that were lost at any stage.
    #[must_use]
    pub fn lost_total(&self) -> u64 {
        self.lost.values().sum()
    }

    fn apply_events(&mut self, events: &ExitEvents) -> Result<()> {
        ensure!(!events.events.is_empty(), "a batch without events");
        self.ensure_counts_complete()?;
        for event in &events.events {
            let (position, sequence) = (self.position, event.sequence);
            ensure!(sequence == position + 1, "exit {sequence} follows exit {position}");
            self.position = sequence;
            self.received += 1;
        }
        self.check_cursor(events.cursor.as_ref())
    }

    fn apply_lost(&mut self, lost: &Lost) -> Result<()> {
        if lost.stage() == LostStage::AgentRestart {
            ensure!(lost.count.is_none() && lost.total == 0, "the loss of a restart has a count");
        } else {
            self.apply_count(lost)?;
        }
        let cursor = lost.cursor.as_ref().context("a message without a cursor")?;
        ensure!(cursor.instance_id == self.instance, "a cursor of another run");
        self.cursor = cursor.sequence;
        ensure!(
            self.cursor >= self.position,
            "the counts reach {}, beyond the cursor {}",
            self.position,
            self.cursor
        );
        Ok(())
    }

    fn apply_count(&mut self, lost: &Lost) -> Result<()> {
        let stage = lost.stage();
        let count = lost.count.context("a loss of unknown size")?;
        ensure!(count > 0, "a loss of 0 exits");
        // The agent does not know the time of the oldest exit that it evicted before the stream
        // began.
        ensure!(lost.first_at.is_some() || stage == LostStage::History, "a loss without a time");
        ensure!(lost.last_at.is_some(), "a loss without a time");
        let total = self.lost.entry(stage).or_default();
        *total += count;
        ensure!(*total == lost.total, "the losses add up to {total}, not to {}", lost.total);
        self.position += count;
        Ok(())
    }

    fn apply_heartbeat(&mut self, heartbeat: &Heartbeat) -> Result<()> {
        self.ensure_counts_complete()?;
        self.check_cursor(heartbeat.cursor.as_ref())
    }

    fn check_cursor(&mut self, cursor: Option<&Cursor>) -> Result<()> {
        let cursor = cursor.context("a message without a cursor")?;
        ensure!(cursor.instance_id == self.instance, "a cursor of another run");
        let (sequence, counted) = (cursor.sequence, self.position);
        ensure!(sequence == counted, "the cursor is {sequence}, the exits reach {counted}");
        self.cursor = sequence;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use taskstats_proto::v1::ExitEvent;

    use super::*;

    fn cursor(sequence: u64) -> Option<Cursor> {
        Some(Cursor { instance_id: "run".to_owned(), sequence })
    }

    fn check_at(sequence: u64) -> SequenceCheck {
        let started = WatchStarted {
            instance_id: "run".to_owned(),
            cursor: cursor(sequence),
            ..WatchStarted::default()
        };
        SequenceCheck::open(&started).unwrap()
    }

    fn events(sequences: &[u64], end: u64) -> Kind {
        let event = |sequence: &u64| ExitEvent { sequence: *sequence, ..ExitEvent::default() };
        let events = sequences.iter().map(event).collect();
        Kind::Events(ExitEvents { events, cursor: cursor(end) })
    }

    fn lost(count: u64, total: u64, end: u64) -> Kind {
        let (first_at, last_at) = (Some(Default::default()), Some(Default::default()));
        let stage = LostStage::History.into();
        Kind::Lost(Lost {
            stage,
            cpu: None,
            count: Some(count),
            first_at,
            last_at,
            total,
            cursor: cursor(end),
            ..Default::default()
        })
    }

    #[test]
    fn received_and_lost_exits_are_counted_from_the_beginning() {
        let mut sequence_check = check_at(5);
        for kind in [events(&[6, 7], 7), lost(3, 3, 10), events(&[11], 11), lost(2, 5, 13)] {
            sequence_check.apply(&kind).unwrap();
        }
        let check = &sequence_check;
        assert_eq!((check.received(), check.lost_total()), (3, 5));
        assert_eq!((check.beginning(), check.position()), (5, 13));
    }

    #[test]
    fn every_kind_of_contradiction_is_an_error() {
        for (contradiction, kind) in [
            ("a gap", events(&[6, 8], 8)),
            ("a repetition", events(&[5], 5)),
            ("disorder", events(&[7, 6], 7)),
            ("a cursor beyond the events", events(&[6], 7)),
            ("a batch without events", events(&[], 5)),
            ("a wrong total", lost(3, 4, 8)),
            ("a loss beyond its cursor", lost(3, 3, 7)),
            ("a loss of 0 exits", lost(0, 0, 5)),
            ("a heartbeat with another cursor", Kind::Heartbeat(Heartbeat { cursor: cursor(4) })),
            ("a second first message", Kind::Started(WatchStarted::default())),
        ] {
            assert!(check_at(5).apply(&kind).is_err(), "{contradiction} is accepted");
        }
    }

    #[test]
    fn losses_of_one_interval_must_add_up_to_its_end() {
        let mut sequence_check = check_at(5);
        for kind in [lost(3, 3, 10), lost(2, 5, 10), events(&[11], 11)] {
            sequence_check.apply(&kind).unwrap();
        }
        sequence_check.ensure_counts_complete().unwrap();
        sequence_check.apply(&lost(3, 8, 15)).unwrap();
        assert!(sequence_check.ensure_counts_complete().is_err());
        assert!(
            sequence_check.apply(&events(&[15], 15)).is_err(),
            "the counts end before the cursor"
        );
    }
}
