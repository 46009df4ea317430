//! `taskstatsctl watch`.

mod printer;
mod reconnect;
mod session;
mod since_filter;

use std::io;
use std::time::SystemTime;

use clap::ValueEnum;
use tokio::signal::unix::{SignalKind, signal};

use self::printer::{Limits, Printer};
use self::session::Session;
use self::since_filter::SinceFilter;
use crate::cli::args::Watch;
use crate::cli::connection::Connection;
use crate::cli::error::{CommandError, continuation, print_error};
use crate::cli::render::exit_columns::ExitColumn;
use crate::cli::render::exit_table::ExitTable;
use crate::cli::render::output::{Mode, Output};
use crate::cli::render::terminal::stdout_size;
use crate::{Client, Cursor, WatchRequest};

/// Requests all exits in the agent's history.
const WHOLE_HISTORY: u32 = u32::MAX;

/// Prints exits until a limit is reached or a signal arrives, and then the cursor to continue after.
pub(crate) async fn run(
    connection: &Connection,
    watch: &Watch,
    out: &mut Output,
) -> Result<(), CommandError> {
    let table = ExitTable::new(columns(watch, &out.mode)?, stdout_size);
    let client = connection.open().await?;
    let until = if watch.no_follow { Some(present(&client).await?) } else { None };
    let since = watch.since.map(|since| SinceFilter::new(since.resolve(SystemTime::now())));
    let limits = Limits { remaining: watch.number, until, since };
    let printer = Printer::new(out, table, limits);
    let mut session = Session::new(connection, client, request(watch), printer);
    tokio::select! {
        interrupted = interrupt() => interrupted?,
        ended = session.run(watch.reconnect) => ended?,
    }
    if let Some(cursor) = session.cursor() {
        print_error(&continuation(cursor));
    }
    Ok(())
}

/// Waits for a signal that asks the process to end.
async fn interrupt() -> io::Result<()> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    Ok(())
}

/// Returns the columns that the user chose; `None` for those that fit the terminal.
fn columns(watch: &Watch, mode: &Mode) -> Result<Option<Vec<ExitColumn>>, CommandError> {
    match (&watch.columns, mode) {
        (Some(list), Mode::Table(_)) => Ok(Some(list.0.clone())),
        (None, Mode::Table(style)) => {
            Ok(style.is_wide.then(|| ExitColumn::value_variants().to_vec()))
        }
        (Some(_), Mode::Compact | Mode::Json(_)) => {
            Err(CommandError::Usage("--columns needs -o table".to_owned()))
        }
        (None, Mode::Compact | Mode::Json(_)) => Ok(None),
    }
}

/// Returns the cursor of the newest exit in the agent's history.
async fn present(client: &Client) -> Result<Cursor, CommandError> {
    let node = client.node().await?;
    let sequence = node.history.map_or(0, |history| history.last_sequence);
    Ok(Cursor { instance_id: node.instance_id, sequence })
}

fn request(watch: &Watch) -> WatchRequest {
    let mut request = WatchRequest::new().scope(watch.scope.into()).on_lag(watch.on_lag.into());
    if let Some(list) = &watch.cpus {
        request = request.cpus(list);
    }
    if let Some(delay) = watch.max_batch_delay {
        request = request.max_batch_delay(delay);
    }
    match (&watch.after, watch.last) {
        (Some(cursor), _) => request.resume_after(cursor.clone()),
        (None, Some(exits)) => request.replay_last(exits),
        (None, None) if watch.since.is_some() || watch.no_follow => {
            request.replay_last(WHOLE_HISTORY)
        }
        (None, None) => request,
    }
}
