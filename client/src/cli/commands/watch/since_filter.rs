//! The exits that `--since` selects of the agent's history.

use jiff::Timestamp;

use crate::cli::render::time::rfc3339;
use crate::{Event, ExitEvent, Lost};

/// Selects by the time at which the agent received an exit. The contract selects by number alone.
#[derive(Debug)]
pub(super) struct SinceFilter {
    since: Timestamp,
    /// Whether it is known if the agent's history reaches back to `since`.
    is_reach_known: bool,
}

impl SinceFilter {
    pub(super) fn new(since: Timestamp) -> Self {
        Self { since, is_reach_known: false }
    }

    /// Returns false for an exit that the agent received before the time.
    pub(super) fn accepts_exit(&self, exit: &ExitEvent) -> bool {
        exit.received_at.as_ref().is_none_or(|time| !self.is_before(time))
    }

    /// Returns false for a loss that was over before the time.
    pub(super) fn accepts_lost(&self, lost: &Lost) -> bool {
        lost.last_at.as_ref().is_none_or(|time| !self.is_before(time))
    }

    /// Returns a note if a stream's first exit shows that the history begins after the time.
    ///
    /// A loss at the beginning of the stream needs no note, because it says the same.
    pub(super) fn note(&mut self, event: &Event) -> Option<String> {
        if self.is_reach_known || !has_position(event) {
            return None;
        }
        self.is_reach_known = true;
        match event {
            Event::Exits(batch) => {
                let oldest = batch.events.first()?.received_at.as_ref()?;
                let begins_later = !self.is_before(oldest);
                begins_later.then(|| {
                    let begin = rfc3339(oldest);
                    format!("note: the agent's history of these exits begins at {begin} only")
                })
            }
            Event::Heartbeat(_) => Some(no_history()),
            Event::Lost(_) | Event::Started(_) | Event::Workloads(_) | Event::Unknown => None,
        }
    }

    /// Returns a note if the stream had no exit at all.
    pub(super) fn note_at_end(&self) -> Option<String> {
        (!self.is_reach_known).then(no_history)
    }

    fn is_before(&self, time: &prost_types::Timestamp) -> bool {
        Timestamp::new(time.seconds, time.nanos).is_ok_and(|time| time < self.since)
    }
}

/// Returns true for a message that shows how far the history reaches.
fn has_position(event: &Event) -> bool {
    matches!(event, Event::Exits(_) | Event::Lost(_) | Event::Heartbeat(_))
}

fn no_history() -> String {
    "note: the agent's history has none of these exits".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ExitEvents, Heartbeat};

    fn at(seconds: i64) -> Option<prost_types::Timestamp> {
        Some(prost_types::Timestamp { seconds, nanos: 0 })
    }

    fn exit(seconds: i64) -> ExitEvent {
        ExitEvent { received_at: at(seconds), ..ExitEvent::default() }
    }

    fn batch(seconds: i64) -> Event {
        Event::Exits(ExitEvents { events: vec![exit(seconds)], ..ExitEvents::default() })
    }

    fn since_100() -> SinceFilter {
        SinceFilter::new(Timestamp::from_second(100).unwrap())
    }

    #[test]
    fn the_time_itself_is_included() {
        assert!(!since_100().accepts_exit(&exit(99)));
        assert!(since_100().accepts_exit(&exit(100)));
        let lost = |last_at| Lost { last_at, ..Lost::default() };
        assert!(!since_100().accepts_lost(&lost(at(99))));
        assert!(since_100().accepts_lost(&lost(at(100))));
        assert!(since_100().accepts_lost(&lost(None)));
    }

    #[test]
    fn a_history_that_begins_later_is_noted_once() {
        let mut filter = since_100();
        let note = filter.note(&batch(120)).unwrap();
        assert!(note.ends_with("begins at 1970-01-01T00:02:00Z only"), "{note}");
        assert_eq!((filter.note(&batch(130)), filter.note_at_end()), (None, None));
    }

    #[test]
    fn a_history_that_reaches_back_is_not_noted() {
        let mut filter = since_100();
        assert_eq!((filter.note(&batch(99)), filter.note(&batch(120))), (None, None));
        let mut filter = since_100();
        assert_eq!(filter.note(&Event::Lost(Lost::default())), None);
        assert_eq!(filter.note_at_end(), None);
    }

    #[test]
    fn an_empty_history_is_noted() {
        assert!(since_100().note(&Event::Heartbeat(Heartbeat::default())).is_some());
        assert!(since_100().note_at_end().is_some());
    }
}
