//! The bookkeeping of one stream: whether every exit is accounted for, once.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use taskstats_proto::v1::watch_exits_response::Kind;
use taskstats_proto::v1::{Cursor, ExitEvents, Heartbeat, Lost, LostStage, WatchStarted};

/// Follows a stream that nothing is left out of: all CPUs, all tasks. On such a stream each sequence
/// number is either an event's or counted by a loss.
#[derive(Debug, Clone)]
pub struct SequenceCheck {
    instance: String,
    position: u64,
    /// The place that the last message told. Of several losses of one interval, each tells the place
    /// after all of them.
    told: u64,
    received: u64,
    lost: BTreeMap<LostStage, u64>,
}

impl SequenceCheck {
    /// Begins where the stream begins.
    ///
    /// # Errors
    ///
    /// The stream does not say where.
    pub fn open(started: &WatchStarted) -> Result<Self> {
        let cursor = started.cursor.as_ref().context("stream begins nowhere")?;
        ensure!(cursor.instance_id == started.instance_id, "cursor of another run");
        Ok(Self::at(&started.instance_id, cursor.sequence))
    }

    /// Begins after the cursor that the stream was to continue after: what is no longer remembered is
    /// told as a loss. A cursor of another run is one before all exits of this run.
    ///
    /// # Errors
    ///
    /// The stream begins elsewhere, so that who stops before the first loss would not hear of it.
    pub fn resume(started: &WatchStarted, after: &Cursor) -> Result<Self> {
        let begin = started.cursor.as_ref();
        ensure!(begin == Some(after), "wanted {after:?}, the stream begins at {begin:?}");
        let same_run = after.instance_id == started.instance_id;
        Ok(Self::at(&started.instance_id, if same_run { after.sequence } else { 0 }))
    }

    fn at(instance: &str, position: u64) -> Self {
        let instance = instance.to_owned();
        Self { instance, position, told: position, received: 0, lost: BTreeMap::new() }
    }

    /// Books one message.
    ///
    /// # Errors
    ///
    /// The message repeats or leaves out an exit, or contradicts itself.
    pub fn book(&mut self, kind: &Kind) -> Result<()> {
        match kind {
            Kind::Started(_) => anyhow::bail!("the stream began twice"),
            Kind::Events(events) => self.book_events(events),
            Kind::Lost(lost) => self.book_lost(lost),
            Kind::Heartbeat(heartbeat) => self.book_heartbeat(heartbeat),
            Kind::Workloads(_) => Ok(()),
        }
    }

    /// Checks that the losses told last add up to the place that they told.
    ///
    /// # Errors
    ///
    /// They do not.
    pub fn ensure_settled(&self) -> Result<()> {
        let (told, counted) = (self.told, self.position);
        ensure!(told == counted, "the losses say {told}, their counts {counted}");
        Ok(())
    }

    /// Returns the sequence of the last exit that was reported.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Returns how many exits were received.
    #[must_use]
    pub fn received(&self) -> u64 {
        self.received
    }

    /// Returns how many exits were lost at `stage`.
    #[must_use]
    pub fn lost(&self, stage: LostStage) -> u64 {
        self.lost.get(&stage).copied().unwrap_or_default()
    }

    /// Returns how many exits were lost at any stage.
    #[must_use]
    pub fn lost_anywhere(&self) -> u64 {
        self.lost.values().sum()
    }

    fn book_events(&mut self, events: &ExitEvents) -> Result<()> {
        ensure!(!events.events.is_empty(), "a batch of nothing");
        self.ensure_settled()?;
        for event in &events.events {
            let (position, sequence) = (self.position, event.sequence);
            ensure!(sequence == position + 1, "exit {sequence} follows exit {position}");
            self.position = sequence;
            self.received += 1;
        }
        self.book_cursor(events.cursor.as_ref())
    }

    fn book_lost(&mut self, lost: &Lost) -> Result<()> {
        if lost.stage() == LostStage::AgentRestart {
            ensure!(lost.count.is_none() && lost.total == 0, "a restart loses an unknown number");
        } else {
            self.book_count(lost)?;
        }
        let cursor = lost.cursor.as_ref().context("a message without its place")?;
        ensure!(cursor.instance_id == self.instance, "a cursor of another run");
        self.told = cursor.sequence;
        ensure!(self.told >= self.position, "{} exits before {}", self.position, self.told);
        Ok(())
    }

    fn book_count(&mut self, lost: &Lost) -> Result<()> {
        let stage = lost.stage();
        let count = lost.count.context("a loss of unknown size")?;
        ensure!(count > 0, "a loss of nothing");
        // When the oldest of them happened that were forgotten before the stream began is not known.
        ensure!(lost.first_at.is_some() || stage == LostStage::History, "a loss at no time");
        ensure!(lost.last_at.is_some(), "a loss at no time");
        let total = self.lost.entry(stage).or_default();
        *total += count;
        ensure!(*total == lost.total, "losses sum up to {total}, the stream says {}", lost.total);
        self.position += count;
        Ok(())
    }

    fn book_heartbeat(&mut self, heartbeat: &Heartbeat) -> Result<()> {
        self.ensure_settled()?;
        self.book_cursor(heartbeat.cursor.as_ref())
    }

    fn book_cursor(&mut self, cursor: Option<&Cursor>) -> Result<()> {
        let cursor = cursor.context("a message without its place")?;
        ensure!(cursor.instance_id == self.instance, "a cursor of another run");
        let (said, counted) = (cursor.sequence, self.position);
        ensure!(said == counted, "the cursor says {said}, the exits {counted}");
        self.told = said;
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
    fn what_was_received_and_lost_is_summed_up() {
        let mut sequence_check = check_at(5);
        for kind in [events(&[6, 7], 7), lost(3, 3, 10), events(&[11], 11), lost(2, 5, 13)] {
            sequence_check.book(&kind).unwrap();
        }
        assert_eq!(
            (sequence_check.received(), sequence_check.lost_anywhere(), sequence_check.position()),
            (3, 5, 13)
        );
    }

    #[test]
    fn every_kind_of_contradiction_is_noticed() {
        for (contradiction, kind) in [
            ("a gap", events(&[6, 8], 8)),
            ("a repetition", events(&[5], 5)),
            ("disorder", events(&[7, 6], 7)),
            ("a cursor beyond the events", events(&[6], 7)),
            ("a batch of nothing", events(&[], 5)),
            ("a wrong total", lost(3, 4, 8)),
            ("a loss beyond its place", lost(3, 3, 7)),
            ("a loss of nothing", lost(0, 0, 5)),
            ("a heartbeat elsewhere", Kind::Heartbeat(Heartbeat { cursor: cursor(4) })),
            ("a second beginning", Kind::Started(WatchStarted::default())),
        ] {
            assert!(check_at(5).book(&kind).is_err(), "{contradiction} was not noticed");
        }
    }

    #[test]
    fn losses_of_one_interval_must_add_up_to_its_end() {
        let mut sequence_check = check_at(5);
        for kind in [lost(3, 3, 10), lost(2, 5, 10), events(&[11], 11)] {
            sequence_check.book(&kind).unwrap();
        }
        sequence_check.ensure_settled().unwrap();
        sequence_check.book(&lost(3, 8, 15)).unwrap();
        assert!(sequence_check.ensure_settled().is_err());
        assert!(
            sequence_check.book(&events(&[15], 15)).is_err(),
            "a loss that leaves its place open"
        );
    }
}
