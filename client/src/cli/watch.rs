//! `taskstatsctl watch`.

use std::time::Instant;

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::args::{Args, Watch};
use super::connect;
use super::failure::{Failure, reason, tell};
use super::output::Output;
use super::place::show_place;
use super::printer::Printer;
use super::reconnect::{Backoff, Reasons, may_pass};
use crate::{Client, Error, ExitStream, WatchRequest};

/// One watch, over as many streams as it takes.
struct Session<'a> {
    args: &'a Args,
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
pub(super) async fn run(args: &Args, watch: &Watch, out: &mut Output) -> Result<(), Failure> {
    let client = Some(connect(args).await?);
    let mut interrupt: Signal = signal(SignalKind::interrupt())?;
    let printer = Printer::new(out, watch.number);
    let (request, backoff, reasons) = (request(watch), Backoff::new(), Reasons::default());
    let mut session = Session { args, client, request, printer, backoff, reasons };
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
    async fn run(&mut self, reconnect: bool) -> Result<(), Failure> {
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
                return Err(Failure::Watch { error, cursor });
            }
            self.went_away(error.as_ref());
            self.backoff.lived(opened_at);
            tokio::time::sleep(self.backoff.delay(error.as_ref())).await;
        }
    }

    /// Prints one stream, which begins after what was printed already.
    async fn stream(&mut self) -> Result<End, Failure> {
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
            None => connect(self.args).await?,
        };
        client.watch(request).await
    }

    /// Tells that the watch waits, and for what: each reason once, however many attempts it takes.
    fn went_away(&mut self, error: Option<&Error>) {
        let reason = reason(error);
        if self.reasons.is_new(&reason) {
            tell(&format!("waiting for the agent: {reason}"));
        }
    }

    /// Tells that the watch goes on.
    fn is_back(&mut self) {
        if !self.reasons.forget() {
            return;
        }
        match self.printer.cursor() {
            Some(cursor) => tell(&format!("connected again, after {}", show_place(cursor))),
            None => tell("connected again"),
        }
    }
}
