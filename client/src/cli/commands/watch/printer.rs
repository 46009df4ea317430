//! The output of one watch, over all of its streams.

use super::since_filter::SinceFilter;
use crate::cli::error::{CommandError, print_error};
use crate::cli::render::exit_table::ExitTable;
use crate::cli::render::exits::{compact, compact_lost, lost_row};
use crate::cli::render::output::{Mode, Output};
use crate::cli::render::text::width;
use crate::proto::WatchExitsResponse;
use crate::proto::watch_exits_response::Kind;
use crate::{
    Cursor, DelayAccounting, Event, ExitEvent, ExitEvents, ExitStream, Heartbeat, Lost,
    WatchStarted, Workload,
};

const DELAYS_ARE_OFF: &str = "note: delay accounting is off: TOP WAIT is the wait for a CPU, which \
     the scheduler keeps, and other delays are unknown; sysctl kernel.task_delayacct=1 turns them \
     on for tasks that start later";

const UNKNOWN_MESSAGE: &str =
    "note: the agent sends messages that this client does not know; update the client";

/// The conditions under which a watch prints, and ends.
#[derive(Debug, Default)]
pub(super) struct Limits {
    /// Exits that are still to be printed; `None` for no limit.
    pub(super) remaining: Option<u64>,
    /// The newest exit to print; `None` for a watch that follows.
    pub(super) until: Option<Cursor>,
    pub(super) since: Option<SinceFilter>,
}

/// Prints a watch until a limit is reached.
#[derive(Debug)]
pub(super) struct Printer<'a> {
    out: &'a mut Output,
    table: ExitTable,
    limits: Limits,
    /// The cursor after what was printed last.
    cursor: Option<Cursor>,
    /// Whether an earlier stream was introduced, with the header of the table.
    is_introduced: bool,
    /// Whether an exit after `limits.until` has arrived.
    is_past_end: bool,
    has_reported_unknown: bool,
}

impl<'a> Printer<'a> {
    pub(super) fn new(out: &'a mut Output, table: ExitTable, limits: Limits) -> Self {
        Self {
            out,
            table,
            limits,
            cursor: None,
            is_introduced: false,
            is_past_end: false,
            has_reported_unknown: false,
        }
    }

    /// Returns true when a limit is reached.
    pub(super) fn is_done(&self) -> bool {
        self.limits.remaining == Some(0) || self.is_past_end || self.is_at_end()
    }

    /// Returns the cursor after what was printed last; `None` before any stream began.
    pub(super) fn cursor(&self) -> Option<&Cursor> {
        self.cursor.as_ref()
    }

    /// Prints a message of a stream, which knows the owners of its exits, at once.
    pub(super) fn event(&mut self, event: Event, of: &ExitStream) -> Result<(), CommandError> {
        if let Some(note) = self.limits.since.as_mut().and_then(|since| since.note(&event)) {
            print_error(&note);
        }
        match event {
            Event::Started(started) => self.started(started)?,
            Event::Exits(batch) => self.exits(batch, of)?,
            Event::Lost(lost) => self.lost(lost)?,
            Event::Heartbeat(heartbeat) => self.heartbeat(heartbeat)?,
            Event::Workloads(workloads) => self.document(Kind::Workloads(workloads))?,
            Event::Unknown => self.unknown(),
        }
        Ok(self.out.flush()?)
    }

    /// Prints what can be said at the end of a watch alone.
    pub(super) fn finish(&self) {
        if let Some(note) = self.limits.since.as_ref().and_then(SinceFilter::note_at_end) {
            print_error(&note);
        }
    }

    fn is_at_end(&self) -> bool {
        let (Some(until), Some(cursor)) = (&self.limits.until, &self.cursor) else { return false };
        cursor.instance_id == until.instance_id && cursor.sequence >= until.sequence
    }

    /// The cursor of `started` counts for the first stream only. Of a stream that continues an
    /// earlier one, it can lie after a loss that is still to come.
    fn started(&mut self, started: WatchStarted) -> Result<(), CommandError> {
        if self.cursor.is_none() {
            self.cursor.clone_from(&started.cursor);
        }
        // The agent restarted after the end was determined: the run that the end is in is gone.
        if self.limits.until.as_ref().is_some_and(|end| end.instance_id != started.instance_id) {
            self.is_past_end = true;
        }
        if let Mode::Json(_) = self.out.mode {
            return self.document(Kind::Started(started));
        }
        if std::mem::replace(&mut self.is_introduced, true) {
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
            let text = self.table.header(style);
            self.out.text(&text)?;
        }
        Ok(())
    }

    /// Prints the exits of a batch one by one, because a limit can end the watch inside a batch.
    fn exits(&mut self, batch: ExitEvents, of: &ExitStream) -> Result<(), CommandError> {
        let ExitEvents { events, cursor } = batch;
        let last = events.len().saturating_sub(1);
        for (at, exit) in events.into_iter().enumerate() {
            self.is_past_end |=
                self.limits.until.as_ref().is_some_and(|end| exit.sequence > end.sequence);
            if self.is_done() {
                return Ok(());
            }
            let here = if at == last { cursor.clone() } else { cursor_at(&exit, cursor.as_ref()) };
            self.cursor.clone_from(&here);
            if self.limits.since.as_ref().is_some_and(|since| !since.accepts_exit(&exit)) {
                continue;
            }
            self.exit(&exit, of.workload(&exit), here.as_ref())?;
            self.limits.remaining = self.limits.remaining.map(|remaining| remaining - 1);
        }
        Ok(())
    }

    fn exit(
        &mut self,
        exit: &ExitEvent,
        workload: Option<&Workload>,
        cursor: Option<&Cursor>,
    ) -> Result<(), CommandError> {
        let text = match &self.out.mode {
            Mode::Table(style) => self.table.row(exit, workload, style),
            Mode::Compact => compact(exit, workload),
            Mode::Json(_) => return Ok(self.out.exit_document(exit, workload, cursor)?),
        };
        Ok(self.out.text(&text)?)
    }

    fn lost(&mut self, lost: Lost) -> Result<(), CommandError> {
        self.cursor.clone_from(&lost.cursor);
        if self.limits.since.as_ref().is_some_and(|since| !since.accepts_lost(&lost)) {
            return Ok(());
        }
        let text = match &self.out.mode {
            Mode::Table(style) => {
                let text = lost_row(&lost, style);
                self.table.count_other_line(width(&text));
                text
            }
            Mode::Compact => compact_lost(&lost),
            Mode::Json(_) => return self.document(Kind::Lost(lost)),
        };
        Ok(self.out.text(&text)?)
    }

    fn heartbeat(&mut self, heartbeat: Heartbeat) -> Result<(), CommandError> {
        self.cursor.clone_from(&heartbeat.cursor);
        self.document(Kind::Heartbeat(heartbeat))
    }

    fn unknown(&mut self) {
        if !std::mem::replace(&mut self.has_reported_unknown, true) {
            print_error(UNKNOWN_MESSAGE);
        }
    }

    fn document(&mut self, kind: Kind) -> Result<(), CommandError> {
        Ok(self.out.document(&WatchExitsResponse { kind: Some(kind) })?)
    }
}

/// Returns the cursor after an exit inside a batch that ends at `end`.
fn cursor_at(exit: &ExitEvent, end: Option<&Cursor>) -> Option<Cursor> {
    Some(Cursor { sequence: exit.sequence, ..end?.clone() })
}
