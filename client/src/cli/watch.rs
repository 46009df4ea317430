//! `taskstatsctl watch`.

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::args::Watch;
use super::exits::{compact, compact_lost, lost_row, row, titles};
use super::failure::{Failure, tell};
use super::output::{Mode, Output};
use crate::proto::WatchExitsResponse;
use crate::proto::watch_exits_response::Kind;
use crate::{
    Client, Cursor, DelayAccounting, Event, ExitEvent, ExitEvents, ExitStream, Heartbeat, Lost,
    WatchRequest, WatchStarted,
};

const DELAYS_ARE_OFF: &str = "note: delay accounting is off, so delays are not known; \
     sysctl kernel.task_delayacct=1 turns it on for tasks that start later";

const TOO_OLD: &str = "note: the agent sent a message that this client is too old for";

/// Prints a stream until enough was printed.
struct Printer<'a> {
    out: &'a mut Output,
    /// How many exits are still to be printed; `None` for no limit.
    remaining: Option<u64>,
    cursor: Option<Cursor>,
}

pub(super) async fn run(client: &Client, watch: &Watch, out: &mut Output) -> Result<(), Failure> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut printer = Printer { out, remaining: watch.number, cursor: None };
    let opened = tokio::select! {
        _ = interrupt.recv() => return Ok(()),
        opened = client.watch(request(watch)) => opened,
    };
    printer.print_all(opened?, &mut interrupt).await
}

fn request(watch: &Watch) -> WatchRequest {
    let mut request = WatchRequest::new().scope(watch.scope.into());
    if let Some(list) = &watch.cpus {
        request = request.cpus(list);
    }
    if let Some(delay) = watch.max_batch_delay {
        request = request.max_batch_delay(delay);
    }
    request
}

impl Printer<'_> {
    async fn print_all(
        &mut self,
        mut exits: ExitStream,
        interrupt: &mut Signal,
    ) -> Result<(), Failure> {
        while self.remaining != Some(0) {
            let event = tokio::select! {
                _ = interrupt.recv() => return Ok(()),
                event = exits.next() => event,
            };
            match event {
                Some(Ok(event)) => self.event(event)?,
                Some(Err(error)) => return Err(self.ended(Some(error))),
                None => return Err(self.ended(None)),
            }
        }
        Ok(())
    }

    fn ended(&mut self, error: Option<crate::Error>) -> Failure {
        Failure::Watch { error, cursor: self.cursor.take() }
    }

    fn event(&mut self, event: Event) -> Result<(), Failure> {
        match event {
            Event::Started(started) => self.started(started)?,
            Event::Exits(batch) => self.exits(batch)?,
            Event::Lost(lost) => self.lost(lost)?,
            Event::Heartbeat(heartbeat) => self.heartbeat(heartbeat)?,
            Event::Unknown => tell(TOO_OLD),
        }
        Ok(self.out.flush()?)
    }

    fn started(&mut self, started: WatchStarted) -> Result<(), Failure> {
        self.cursor.clone_from(&started.cursor);
        if let Mode::Json(_) = self.out.mode {
            return self.document(Kind::Started(started));
        }
        tell(&format!(
            "watching CPUs {} of node {} (taskstats version {})",
            started.cpumask, started.node_name, started.taskstats_version
        ));
        if started.delay_accounting() == DelayAccounting::Off {
            tell(DELAYS_ARE_OFF);
        }
        if let Mode::Table(look) = &self.out.mode {
            let text = titles(look);
            self.out.text(&text)?;
        }
        Ok(())
    }

    /// Prints exits one by one, in JSON too, so that a line is an exit whatever the batch.
    fn exits(&mut self, batch: ExitEvents) -> Result<(), Failure> {
        let ExitEvents { events, cursor } = batch;
        let last = events.len().saturating_sub(1);
        for (at, exit) in events.into_iter().enumerate() {
            if self.remaining == Some(0) {
                return Ok(());
            }
            let here = if at == last { cursor.clone() } else { place_of(&exit, cursor.as_ref()) };
            self.cursor.clone_from(&here);
            self.exit(exit, here)?;
            self.remaining = self.remaining.map(|remaining| remaining - 1);
        }
        Ok(())
    }

    fn exit(&mut self, exit: ExitEvent, cursor: Option<Cursor>) -> Result<(), Failure> {
        let text = match &self.out.mode {
            Mode::Table(look) => row(&exit, look),
            Mode::Compact => compact(&exit),
            Mode::Json(_) => {
                return self.document(Kind::Events(ExitEvents { events: vec![exit], cursor }));
            }
        };
        Ok(self.out.text(&text)?)
    }

    fn lost(&mut self, lost: Lost) -> Result<(), Failure> {
        self.cursor.clone_from(&lost.cursor);
        let text = match &self.out.mode {
            Mode::Table(look) => lost_row(&lost, look),
            Mode::Compact => compact_lost(&lost),
            Mode::Json(_) => return self.document(Kind::Lost(lost)),
        };
        Ok(self.out.text(&text)?)
    }

    fn heartbeat(&mut self, heartbeat: Heartbeat) -> Result<(), Failure> {
        self.cursor.clone_from(&heartbeat.cursor);
        self.document(Kind::Heartbeat(heartbeat))
    }

    fn document(&mut self, kind: Kind) -> Result<(), Failure> {
        Ok(self.out.document(&WatchExitsResponse { kind: Some(kind) })?)
    }
}

/// The place after an exit inside a batch.
fn place_of(exit: &ExitEvent, end: Option<&Cursor>) -> Option<Cursor> {
    Some(Cursor { sequence: exit.sequence, ..end?.clone() })
}
