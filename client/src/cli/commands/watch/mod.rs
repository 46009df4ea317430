//! `taskstatsctl watch`.

mod printer;
mod reconnect;

use std::time::Instant;

use tokio::signal::unix::{Signal, SignalKind, signal};

use self::printer::Printer;
use self::reconnect::{Backoff, Reasons, may_pass};
use crate::cli::args::Watch;
use crate::cli::connection::Connection;
use crate::cli::cursor::format_cursor;
use crate::cli::error::{CommandError, print_error, reason};
use crate::cli::render::output::Output;
use crate::{Client, Error, ExitStream, WatchRequest};

/// One watch, over as many streams as it takes.
struct Session<'a> {
    connection: &'a Connection,
    /// That of the next stream; none after one that broke, because certificates may be others by then.
    client: Option<Client>,
    request: WatchRequest,
    printer: Printer<'a>,
    backoff: Backoff,
    /// Why it waits, as far as that was told, since the last stream ended; none while one is open.
    reasons: Reasons,
}

/// How one stream ended.
enum End {
    /// Enough was printed.
    Enough,
    /// It could not be opened.
    Refused(Error),
    /// It was open, and ended, with an error or without one.
    Broken(Option<Error>),
}

/// Prints exits until there were enough, or until an interrupt.
pub(crate) async fn run(
    connection: &Connection,
    watch: &Watch,
    out: &mut Output,
) -> Result<(), CommandError> {
    let client = Some(connection.open().await?);
    let mut interrupt: Signal = signal(SignalKind::interrupt())?;
    let printer = Printer::new(out, watch.number);
    let (request, backoff, reasons) = (request(watch), Backoff::new(), Reasons::default());
    let mut session = Session { connection, client, request, printer, backoff, reasons };
    tokio::select! {
        _ = interrupt.recv() => Ok(()),
        ended = session.run(watch.reconnect) => ended,
    }
}

fn request(watch: &Watch) -> WatchRequest {
    let mut request = WatchRequest::new().scope(watch.scope.into()).on_lag(watch.on_lag.into());
    if let Some(list) = &watch.cpus {
        request = request.cpus(list);
    }
    if let Some(exits) = watch.last {
        request = request.replay_last(exits);
    }
    if let Some(cursor) = &watch.after {
        request = request.resume_after(cursor.clone());
    }
    if let Some(delay) = watch.max_batch_delay {
        request = request.max_batch_delay(delay);
    }
    request
}

impl Session<'_> {
    async fn run(&mut self, reconnect: bool) -> Result<(), CommandError> {
        let mut connected = false;
        loop {
            let opened_at = Instant::now();
            let error = match self.stream().await? {
                End::Enough => return Ok(()),
                End::Refused(error) if !connected => return Err(error.into()),
                End::Refused(error) => Some(error),
                End::Broken(error) => error,
            };
            connected = true;
            if !reconnect || !error.as_ref().is_none_or(may_pass) {
                let cursor = self.printer.cursor().cloned();
                return Err(CommandError::Watch { error, cursor });
            }
            self.went_away(error.as_ref());
            self.backoff.lived(opened_at);
            tokio::time::sleep(self.backoff.delay(error.as_ref())).await;
        }
    }

    /// Prints one stream, which begins after what was printed already.
    async fn stream(&mut self) -> Result<End, CommandError> {
        let mut request = self.request.clone();
        if let Some(cursor) = self.printer.cursor() {
            request = request.resume_after(cursor.clone());
        }
        let mut exits = match self.open(request).await {
            Ok(exits) => exits,
            Err(error) => return Ok(End::Refused(error)),
        };
        while !self.printer.is_done() {
            match exits.next().await {
                Some(Ok(event)) => {
                    self.is_back();
                    self.printer.event(event)?;
                }
                Some(Err(error)) => return Ok(End::Broken(Some(error))),
                None => return Ok(End::Broken(None)),
            }
        }
        Ok(End::Enough)
    }

    async fn open(&mut self, request: WatchRequest) -> Result<ExitStream, Error> {
        let client = match self.client.take() {
            Some(client) => client,
            None => self.connection.open().await?,
        };
        client.watch(request).await
    }

    /// Tells that the watch waits, and for what: each reason once, however many attempts it takes.
    fn went_away(&mut self, error: Option<&Error>) {
        let reason = reason(error);
        if self.reasons.is_new(&reason) {
            print_error(&format!("waiting for the agent: {reason}"));
        }
    }

    /// Tells that the watch goes on.
    fn is_back(&mut self) {
        if !self.reasons.forget() {
            return;
        }
        match self.printer.cursor() {
            Some(cursor) => {
                print_error(&format!("connected again, after {}", format_cursor(cursor)));
            }
            None => print_error("connected again"),
        }
    }
}
