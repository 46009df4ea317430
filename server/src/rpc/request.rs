//! Conversion of requests to domain types. An invalid request is rejected with its field.

use std::time::Duration;

use taskstats_proto::v1;

use super::RpcError;
use crate::exits::{OnLag, Scope, Selection, Start, WatchOptions};
use crate::taskstats::{Cpumask, TaskId};

/// The largest number of ids in one batch. The response stays below the 4 MiB that clients accept by
/// default.
pub(super) const MAX_BATCH: usize = 1000;
/// The longest delay of a batch. With a longer one, heartbeats would be missing.
pub(super) const MAX_BATCH_DELAY: Duration = Duration::from_secs(10);

/// A valid watch request.
#[derive(Clone, Debug)]
pub(super) struct Watch {
    pub(super) selection: Selection,
    pub(super) options: WatchOptions,
}

pub(super) fn pid(pid: u32) -> Result<TaskId, RpcError> {
    not_zero("pid", pid).map(TaskId::Pid)
}

pub(super) fn tgid(tgid: u32) -> Result<TaskId, RpcError> {
    not_zero("tgid", tgid).map(TaskId::Tgid)
}

/// Returns the ids of a batch, in the order of its results.
pub(super) fn batch(request: &v1::BatchGetRequest) -> Result<Vec<TaskId>, RpcError> {
    let count = request.pids.len() + request.tgids.len();
    if count > MAX_BATCH {
        let field = if request.pids.len() > MAX_BATCH { "pids" } else { "tgids" };
        let description =
            format!("{count} ids were asked for, and one batch may have {MAX_BATCH}; split it");
        return Err(invalid(field, description));
    }
    let pids = request.pids.iter().copied().map(TaskId::Pid);
    let tgids = request.tgids.iter().copied().map(TaskId::Tgid);
    Ok(pids.chain(tgids).collect())
}

/// Converts a watch request for the run `instance_id` on a machine with these possible CPUs.
pub(super) fn watch(
    request: &v1::WatchExitsRequest,
    instance_id: &str,
    possible: &Cpumask,
) -> Result<Watch, RpcError> {
    let cpus = Cpumask::parse(&request.cpumask, possible)
        .map_err(|error| invalid("cpumask", error.to_string()))?;
    let (start, other_run) = start(request, instance_id)?;
    let options = WatchOptions {
        start,
        other_run,
        max_batch_delay: max_batch_delay(request.max_batch_delay.as_ref())?,
        on_lag: on_lag(request.on_lag)?,
    };
    Ok(Watch { selection: Selection::new(cpus, scope(request.scope)?, possible), options })
}

/// Returns the start of a stream, and true if its cursor is of another run. The whole history of this
/// run is new to the caller then.
fn start(request: &v1::WatchExitsRequest, instance_id: &str) -> Result<(Start, bool), RpcError> {
    match &request.resume_after {
        None if request.replay_last == 0 => Ok((Start::Now, false)),
        None => Ok((Start::Last(request.replay_last.into()), false)),
        Some(_) if request.replay_last != 0 => Err(invalid(
            "replay_last",
            format!("{} stands beside resume_after; use one of them", request.replay_last),
        )),
        Some(cursor) if cursor.instance_id.is_empty() => Err(invalid(
            "resume_after.instance_id",
            "it is empty; send a cursor as an earlier message had it".to_owned(),
        )),
        Some(cursor) if cursor.instance_id != instance_id => Ok((Start::After(0), true)),
        Some(cursor) => Ok((Start::After(cursor.sequence), false)),
    }
}

fn on_lag(number: i32) -> Result<OnLag, RpcError> {
    match v1::OnLag::try_from(number) {
        Ok(v1::OnLag::Unspecified | v1::OnLag::Skip) => Ok(OnLag::Skip),
        Ok(v1::OnLag::Close) => Ok(OnLag::Close),
        Err(_) => Err(invalid(
            "on_lag",
            format!("{number} is no way to lag; use ON_LAG_SKIP or ON_LAG_CLOSE"),
        )),
    }
}

fn scope(number: i32) -> Result<Scope, RpcError> {
    match v1::Scope::try_from(number) {
        Ok(v1::Scope::Unspecified | v1::Scope::AllTasks) => Ok(Scope::AllTasks),
        Ok(v1::Scope::Processes) => Ok(Scope::Processes),
        Ok(v1::Scope::Threads) => Ok(Scope::Threads),
        Err(_) => Err(invalid(
            "scope",
            format!("{number} is no scope; use SCOPE_ALL_TASKS, SCOPE_PROCESSES or SCOPE_THREADS"),
        )),
    }
}

fn max_batch_delay(duration: Option<&prost_types::Duration>) -> Result<Duration, RpcError> {
    let Some(asked) = duration else { return Ok(Duration::ZERO) };
    match Duration::try_from(*asked) {
        Ok(delay) if delay <= MAX_BATCH_DELAY => Ok(delay),
        _ => Err(invalid(
            "max_batch_delay",
            format!("{asked} is out of range; use 0s to {}s", MAX_BATCH_DELAY.as_secs()),
        )),
    }
}

fn not_zero(field: &'static str, id: u32) -> Result<u32, RpcError> {
    if id == 0 {
        let description = format!("0 is no {field}; use the id of a live task, 1 or above");
        return Err(invalid(field, description));
    }
    Ok(id)
}

fn invalid(field: &'static str, description: String) -> RpcError {
    RpcError::Invalid { field, description }
}
