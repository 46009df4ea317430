//! `taskstatsctl get`.

use std::fmt::Display;

use crate::cli::args::Get;
use crate::cli::error::{CommandError, message, print_error};
use crate::cli::render::exits::compact_live;
use crate::cli::render::output::{Mode, Output};
use crate::cli::render::task::{full, threads};
use crate::proto::{GetPidResponse, GetTgidResponse};
use crate::{BatchEntry, Client, Error, MAX_BATCH, Process, TaskStats, Threads};

pub(crate) async fn run(client: &Client, get: &Get, out: &mut Output) -> Result<(), CommandError> {
    let complete = match get {
        Get::Pid { ids } => pids(client, ids, out).await?,
        Get::Tgid { ids, threads: false } => tgids(client, ids, out).await?,
        Get::Tgid { ids, threads: true } => with_threads(client, ids, out).await?,
    };
    out.flush()?;
    if complete { Ok(()) } else { Err(CommandError::Refused) }
}

/// Prints tasks; false when some could not be printed. A single one is asked for by the unary
/// call, whose error says more.
async fn pids(client: &Client, ids: &[u32], out: &mut Output) -> Result<bool, CommandError> {
    if let [id] = ids {
        task(client.pid(*id).await?, out)?;
        return Ok(true);
    }
    let mut complete = true;
    for chunk in ids.chunks(MAX_BATCH) {
        for (id, entry) in chunk.iter().zip(client.batch(chunk, &[]).await?) {
            match found("pid", id, entry) {
                Some(stats) => task(stats, out)?,
                None => complete = false,
            }
        }
    }
    Ok(complete)
}

/// Prints processes; false when some could not be printed.
async fn tgids(client: &Client, ids: &[u32], out: &mut Output) -> Result<bool, CommandError> {
    if let [id] = ids {
        process(client.tgid(*id, Threads::Omit).await?, Threads::Omit, out)?;
        return Ok(true);
    }
    let mut complete = true;
    for chunk in ids.chunks(MAX_BATCH) {
        for (id, entry) in chunk.iter().zip(client.batch(&[], chunk).await?) {
            match found("tgid", id, entry) {
                Some(stats) => {
                    process(Process { stats, threads: Vec::new() }, Threads::Omit, out)?;
                }
                None => complete = false,
            }
        }
    }
    Ok(complete)
}

/// Prints processes with their threads, for which there is no batch.
async fn with_threads(
    client: &Client,
    ids: &[u32],
    out: &mut Output,
) -> Result<bool, CommandError> {
    let mut complete = true;
    for id in ids {
        match client.tgid(*id, Threads::Include).await {
            Ok(found) => process(found, Threads::Include, out)?,
            Err(error) if ids.len() > 1 && is_of_one_id(&error) => {
                tell_of("tgid", id, &error);
                complete = false;
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(complete)
}

fn found(kind: &str, id: &u32, entry: BatchEntry) -> Option<TaskStats> {
    match entry.stats {
        Ok(stats) => Some(stats),
        Err(error) => {
            tell_of(kind, id, &error);
            None
        }
    }
}

/// Whether the next id may fare better.
fn is_of_one_id(error: &Error) -> bool {
    matches!(error, Error::NoSuchTask { .. } | Error::InvalidArgument { .. })
}

fn tell_of(kind: &str, id: impl Display, error: &Error) {
    print_error(&format!("{kind} {id}: {}", message(error)));
}

fn task(stats: TaskStats, out: &mut Output) -> Result<(), CommandError> {
    match &out.mode {
        Mode::Table(style) => {
            let text = full(&stats, style);
            out.text(&text)?;
        }
        Mode::Compact => out.text(&compact_live(&stats))?,
        Mode::Json(_) => {
            out.document(&GetPidResponse { stats: Some(stats), ..Default::default() })?;
        }
    }
    Ok(())
}

fn process(process: Process, asked: Threads, out: &mut Output) -> Result<(), CommandError> {
    let Process { stats, threads: members } = process;
    match &out.mode {
        Mode::Table(style) => {
            let mut text = full(&stats, style);
            if asked == Threads::Include {
                text.push_str(&threads(&members, style));
            }
            out.text(&text)?;
        }
        Mode::Compact => {
            let accounts = std::iter::once(&stats).chain(&members);
            out.text(&accounts.map(compact_live).collect::<String>())?;
        }
        Mode::Json(_) => {
            out.document(&GetTgidResponse {
                stats: Some(stats),
                threads: members,
                ..Default::default()
            })?;
        }
    }
    Ok(())
}
