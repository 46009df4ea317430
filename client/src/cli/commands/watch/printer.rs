//! One watch, printed, over as many streams as it takes.

use crate::cli::error::{CommandError, print_error};
use crate::cli::render::exits::{compact, compact_lost, lost_row, row, titles};
use crate::cli::render::output::{Mode, Output};
use crate::proto::WatchExitsResponse;
use crate::proto::watch_exits_response::Kind;
use crate::{Cursor, DelayAccounting, Event, ExitEvent, ExitEvents, Heartbeat, Lost, WatchStarted};

const DELAYS_ARE_OFF: &str = "note: delay accounting is off: TOP WAIT is the wait for a CPU, which \
     the scheduler keeps, and other delays are not known; sysctl kernel.task_delayacct=1 turns them \
     on for tasks that start later";

const TOO_OLD: &str = "note: the agent sent a message that this client is too old for";

/// Prints a watch until enough was printed.
#[derive(Debug)]
pub(super) struct Printer<'a> {
    out: &'a mut Output,
    /// How many exits are still to be printed; `None` for no limit.
    remaining: Option<u64>,
    /// The place after what was printed last.
    cursor: Option<Cursor>,
    /// Whether an earlier stream was introduced, with the titles of the table.
    introduced: bool,
}

impl<'a> Printer<'a> {
    /// Prints so many exits at most.
    pub(super) fn new(out: &'a mut Output, number: Option<u64>) -> Self {
        Self { out, remaining: number, cursor: None, introduced: false }
    }

    /// Whether enough was printed.
    pub(super) fn is_done(&self) -> bool {
        self.remaining == Some(0)
    }

    /// The place after what was printed last; `None` before any stream began.
    pub(super) fn cursor(&self) -> Option<&Cursor> {
        self.cursor.as_ref()
    }

    /// Prints a message, at once.
    pub(super) fn event(&mut self, event: Event) -> Result<(), CommandError> {
        match event {
            Event::Started(started) => self.started(started)?,
            Event::Exits(batch) => self.exits(batch)?,
            Event::Lost(lost) => self.lost(lost)?,
            Event::Heartbeat(heartbeat) => self.heartbeat(heartbeat)?,
            Event::Workloads(workloads) => self.document(Kind::Workloads(workloads))?,
            Event::Unknown => print_error(TOO_OLD),
        }
        Ok(self.out.flush()?)
    }

    /// Of a stream that continues an earlier one, the place at its start is not the place after what
    /// was printed: what was lost between the two is still to be told.
    fn started(&mut self, started: WatchStarted) -> Result<(), CommandError> {
        if self.cursor.is_none() {
            self.cursor.clone_from(&started.cursor);
        }
        if let Mode::Json(_) = self.out.mode {
            return self.document(Kind::Started(started));
        }
        if std::mem::replace(&mut self.introduced, true) {
            return Ok(());
        }
        print_error(&format!(
            "watching CPUs {} of node {} (taskstats version {})",
            started.cpumask, started.node_name, started.taskstats_version
        ));
        if started.delay_accounting() == DelayAccounting::Off {
            print_error(DELAYS_ARE_OFF);
        }
        if let Mode::Table(style) = &self.out.mode {
            let text = titles(style);
            self.out.text(&text)?;
        }
        Ok(())
    }

    /// Prints exits one by one, in JSON too, so that a line is an exit whatever the batch.
    fn exits(&mut self, batch: ExitEvents) -> Result<(), CommandError> {
        let ExitEvents { events, cursor } = batch;
        let last = events.len().saturating_sub(1);
        for (at, exit) in events.into_iter().enumerate() {
            if self.is_done() {
                return Ok(());
            }
            let here = if at == last { cursor.clone() } else { place_of(&exit, cursor.as_ref()) };
            self.cursor.clone_from(&here);
            self.exit(exit, here)?;
            self.remaining = self.remaining.map(|remaining| remaining - 1);
        }
        Ok(())
    }

    fn exit(&mut self, exit: ExitEvent, cursor: Option<Cursor>) -> Result<(), CommandError> {
        let text = match &self.out.mode {
            Mode::Table(style) => row(&exit, style),
            Mode::Compact => compact(&exit),
            Mode::Json(_) => {
                return self.document(Kind::Events(ExitEvents { events: vec![exit], cursor }));
            }
        };
        Ok(self.out.text(&text)?)
    }

    fn lost(&mut self, lost: Lost) -> Result<(), CommandError> {
        self.cursor.clone_from(&lost.cursor);
        let text = match &self.out.mode {
            Mode::Table(style) => lost_row(&lost, style),
            Mode::Compact => compact_lost(&lost),
            Mode::Json(_) => return self.document(Kind::Lost(lost)),
        };
        Ok(self.out.text(&text)?)
    }

    fn heartbeat(&mut self, heartbeat: Heartbeat) -> Result<(), CommandError> {
        self.cursor.clone_from(&heartbeat.cursor);
        self.document(Kind::Heartbeat(heartbeat))
    }

    fn document(&mut self, kind: Kind) -> Result<(), CommandError> {
        Ok(self.out.document(&WatchExitsResponse { kind: Some(kind) })?)
    }
}

/// The place after an exit inside a batch.
fn place_of(exit: &ExitEvent, end: Option<&Cursor>) -> Option<Cursor> {
    Some(Cursor { sequence: exit.sequence, ..end?.clone() })
}
