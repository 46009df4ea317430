//! `taskstatsctl get`.

use std::fmt::Display;

use crate::cli::advice::message;
use crate::cli::args::Get;
use crate::cli::error::{CommandError, print_error};
use crate::cli::render::exits::compact_live;
use crate::cli::render::output::{Mode, Output};
use crate::cli::render::task::{full, threads};
use crate::proto::{GetPidResponse, GetTgidResponse};
use crate::{
    Attribution, BatchEntry, Client, Error, MAX_BATCH, Owner, Process, Task, Threads, Workload,
};

/// Prints live tasks or processes; fails unless all were printed.
pub(crate) async fn run(client: &Client, get: &Get, out: &mut Output) -> Result<(), CommandError> {
    let client = client.clone().with_workloads();
    let is_complete = match get {
        Get::Pid { ids } => pids(&client, ids, out).await?,
        Get::Tgid { ids, threads: false } => tgids(&client, ids, out).await?,
        Get::Tgid { ids, threads: true } => with_threads(&client, ids, out).await?,
    };
    out.flush()?;
    if is_complete { Ok(()) } else { Err(CommandError::Unsuccessful) }
}

/// Prints tasks, and returns false when some could not be printed.
///
/// A single id is the subject of a unary call, whose error has details that an entry of a batch
/// lacks.
async fn pids(client: &Client, ids: &[u32], out: &mut Output) -> Result<bool, CommandError> {
    if let [id] = ids {
        print_task(client.task(*id).await?, out)?;
        return Ok(true);
    }
    let mut is_complete = true;
    for chunk in ids.chunks(MAX_BATCH) {
        for (id, entry) in chunk.iter().zip(client.batch(chunk, &[]).await?) {
            match found("pid", id, entry) {
                Some(task) => print_task(task, out)?,
                None => is_complete = false,
            }
        }
    }
    Ok(is_complete)
}

/// Prints processes, and returns false when some could not be printed.
async fn tgids(client: &Client, ids: &[u32], out: &mut Output) -> Result<bool, CommandError> {
    if let [id] = ids {
        print_process(client.tgid(*id, Threads::Omit).await?, Threads::Omit, out)?;
        return Ok(true);
    }
    let mut is_complete = true;
    for chunk in ids.chunks(MAX_BATCH) {
        for (id, entry) in chunk.iter().zip(client.batch(&[], chunk).await?) {
            match found("tgid", id, entry) {
                Some(Task { stats, owner }) => {
                    let process = Process { stats, threads: Vec::new(), owner };
                    print_process(process, Threads::Omit, out)?;
                }
                None => is_complete = false,
            }
        }
    }
    Ok(is_complete)
}

/// Prints processes with their threads, which a batch does not contain.
async fn with_threads(
    client: &Client,
    ids: &[u32],
    out: &mut Output,
) -> Result<bool, CommandError> {
    let mut is_complete = true;
    for id in ids {
        match client.tgid(*id, Threads::Include).await {
            Ok(process) => print_process(process, Threads::Include, out)?,
            Err(error) if ids.len() > 1 && concerns_one_id(&error) => {
                report("tgid", id, &error);
                is_complete = false;
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(is_complete)
}

fn found(kind: &str, id: &u32, entry: BatchEntry) -> Option<Task> {
    match entry.stats {
        Ok(stats) => Some(Task { stats, owner: entry.owner }),
        Err(error) => {
            report(kind, id, &error);
            None
        }
    }
}

/// Returns true for an error after which the next id can still succeed.
fn concerns_one_id(error: &Error) -> bool {
    matches!(error, Error::NoSuchTask { .. } | Error::InvalidArgument { .. })
}

fn report(kind: &str, id: impl Display, error: &Error) {
    print_error(&format!("{kind} {id}: {}", message(error)));
}

fn print_task(task: Task, out: &mut Output) -> Result<(), CommandError> {
    let Task { stats, owner } = task;
    match &out.mode {
        Mode::Table(style) => {
            let text = full(&stats, owner.as_ref(), style);
            out.text(&text)?;
        }
        Mode::Compact => out.text(&compact_live(&stats, owner.as_ref()))?,
        Mode::Json(_) => {
            let (workload, attribution) = parts(owner);
            let stats = Some(stats);
            out.document(&GetPidResponse { stats, workload, attribution: attribution.into() })?;
        }
    }
    Ok(())
}

fn print_process(
    process: Process,
    requested: Threads,
    out: &mut Output,
) -> Result<(), CommandError> {
    let Process { stats, threads: members, owner } = process;
    match &out.mode {
        Mode::Table(style) => {
            let mut text = full(&stats, owner.as_ref(), style);
            if requested == Threads::Include {
                text.push_str(&threads(&members, style));
            }
            out.text(&text)?;
        }
        Mode::Compact => {
            let mut text = compact_live(&stats, owner.as_ref());
            text.extend(members.iter().map(|thread| compact_live(thread, None)));
            out.text(&text)?;
        }
        Mode::Json(_) => {
            let (workload, attribution) = parts(owner);
            out.document(&GetTgidResponse {
                stats: Some(stats),
                threads: members,
                workload,
                attribution: attribution.into(),
            })?;
        }
    }
    Ok(())
}

/// Returns the fields of a response that has the owner.
fn parts(owner: Option<Owner>) -> (Option<Workload>, Attribution) {
    match owner {
        Some(Owner { workload, attribution }) => (Some(workload), attribution),
        None => (None, Attribution::Unspecified),
    }
}
