//! The streams of one watch, one after the other.

use std::time::Instant;

use super::printer::Printer;
use super::reconnect::{Backoff, ReportedReasons, is_transient};
use crate::cli::advice::stream_end;
use crate::cli::connection::Connection;
use crate::cli::cursor::format_cursor;
use crate::cli::error::{CommandError, print_error};
use crate::{Client, Cursor, Error, ExitStream, WatchRequest};

/// A watch over as many streams as it needs.
pub(super) struct Session<'a> {
    connection: &'a Connection,
    /// The client of the next stream; `None` after a stream that broke, because the certificate
    /// files can have changed.
    client: Option<Client>,
    request: WatchRequest,
    printer: Printer<'a>,
    backoff: Backoff,
    /// The reasons for the present absence of the agent; empty while a stream is open.
    reasons: ReportedReasons,
}

/// The end of one stream.
enum StreamEnd {
    /// A limit of the watch is reached.
    LimitReached,
    /// The stream could not be opened.
    NotOpened(Error),
    /// The stream was open, and ended, with an error or without one.
    Ended(Option<Error>),
}

impl<'a> Session<'a> {
    pub(super) fn new(
        connection: &'a Connection,
        client: Client,
        request: WatchRequest,
        printer: Printer<'a>,
    ) -> Self {
        Self {
            connection,
            client: Some(client),
            request,
            printer,
            backoff: Backoff::new(),
            reasons: ReportedReasons::default(),
        }
    }

    /// Returns the cursor after what was printed last.
    pub(super) fn cursor(&self) -> Option<&Cursor> {
        self.printer.cursor()
    }

    /// Prints exits until a limit is reached. With `reconnect`, a stream that was opened once and
    /// ends for a transient reason is followed by another.
    pub(super) async fn run(&mut self, reconnect: bool) -> Result<(), CommandError> {
        let mut was_open = false;
        loop {
            let opened_at = Instant::now();
            let error = match self.stream().await? {
                StreamEnd::LimitReached => {
                    self.printer.finish();
                    return Ok(());
                }
                StreamEnd::NotOpened(error) if !was_open => return Err(error.into()),
                StreamEnd::NotOpened(error) => Some(error),
                StreamEnd::Ended(error) => error,
            };
            was_open = true;
            if !reconnect || !error.as_ref().is_none_or(is_transient) {
                let cursor = self.printer.cursor().cloned();
                return Err(CommandError::Stream { error, cursor });
            }
            self.report_absence(error.as_ref());
            self.backoff.stream_ended(opened_at);
            tokio::time::sleep(self.backoff.next_delay(error.as_ref())).await;
        }
    }

    /// Prints one stream, which begins after what was printed already.
    async fn stream(&mut self) -> Result<StreamEnd, CommandError> {
        let mut request = self.request.clone();
        if let Some(cursor) = self.printer.cursor() {
            request = request.resume_after(cursor.clone());
        }
        let mut exits = match self.open(request).await {
            Ok(exits) => exits,
            Err(error) => return Ok(StreamEnd::NotOpened(error)),
        };
        while !self.printer.is_done() {
            match exits.next().await {
                Some(Ok(event)) => {
                    self.report_return();
                    self.printer.event(event, &exits)?;
                }
                Some(Err(error)) => return Ok(StreamEnd::Ended(Some(error))),
                None => return Ok(StreamEnd::Ended(None)),
            }
        }
        Ok(StreamEnd::LimitReached)
    }

    async fn open(&mut self, request: WatchRequest) -> Result<ExitStream, Error> {
        let client = match self.client.take() {
            Some(client) => client,
            None => self.connection.open().await?,
        };
        client.watch(request).await
    }

    /// Prints why the watch waits: each reason once, however many attempts fail.
    fn report_absence(&mut self, error: Option<&Error>) {
        let reason = stream_end(error);
        if self.reasons.add(&reason) {
            print_error(&format!("waiting for the agent: {reason}"));
        }
    }

    /// Prints that the watch continues, if it was reported to wait.
    fn report_return(&mut self) {
        if !self.reasons.clear() {
            return;
        }
        match self.printer.cursor() {
            Some(cursor) => {
                print_error(&format!("reconnected, continuing after {}", format_cursor(cursor)));
            }
            None => print_error("reconnected"),
        }
    }
}
