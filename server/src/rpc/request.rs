//! From requests to domain types, or to the field that is wrong.

use std::time::Duration;

use taskstats_proto::v1;

use super::RpcError;
use crate::exits::{Scope, Selection};
use crate::taskstats::{Cpumask, TaskId};

/// Ids in one batch: their answers together stay below the 4 MiB that clients accept by default.
pub(super) const MAX_BATCH: usize = 1000;
/// A watcher that holds exits back for longer would miss heartbeats.
const MAX_BATCH_DELAY: Duration = Duration::from_secs(10);

/// What a watch request asks for.
#[derive(Clone, Debug)]
pub(super) struct Watch {
    pub(super) selection: Selection,
    pub(super) max_batch_delay: Duration,
}

pub(super) fn pid(pid: u32) -> Result<TaskId, RpcError> {
    not_zero("pid", pid).map(TaskId::Pid)
}

pub(super) fn tgid(tgid: u32) -> Result<TaskId, RpcError> {
    not_zero("tgid", tgid).map(TaskId::Tgid)
}

/// The ids of a batch, in the order of its results.
pub(super) fn batch(request: &v1::BatchGetRequest) -> Result<Vec<TaskId>, RpcError> {
    let count = request.pids.len() + request.tgids.len();
    if count > MAX_BATCH {
        let field = if request.pids.len() > MAX_BATCH { "pids" } else { "tgids" };
        let description =
            format!("{count} ids were asked for, and one batch may have {MAX_BATCH}; split it");
        return Err(RpcError::Invalid { field, description });
    }
    let pids = request.pids.iter().copied().map(TaskId::Pid);
    let tgids = request.tgids.iter().copied().map(TaskId::Tgid);
    Ok(pids.chain(tgids).collect())
}

pub(super) fn watch(request: &v1::WatchExitsRequest, possible: &Cpumask) -> Result<Watch, RpcError> {
    let cpus = Cpumask::parse(&request.cpumask, possible).map_err(|error| RpcError::Invalid {
        field: "cpumask",
        description: error.to_string(),
    })?;
    let selection = Selection::new(cpus, scope(request.scope)?, possible);
    let max_batch_delay = max_batch_delay(request.max_batch_delay.as_ref())?;
    Ok(Watch { selection, max_batch_delay })
}

fn scope(number: i32) -> Result<Scope, RpcError> {
    match v1::Scope::try_from(number) {
        Ok(v1::Scope::Unspecified | v1::Scope::AllTasks) => Ok(Scope::AllTasks),
        Ok(v1::Scope::Processes) => Ok(Scope::Processes),
        Ok(v1::Scope::Threads) => Ok(Scope::Threads),
        Err(_) => Err(RpcError::Invalid {
            field: "scope",
            description: format!(
                "{number} is no scope; use SCOPE_ALL_TASKS, SCOPE_PROCESSES or SCOPE_THREADS"
            ),
        }),
    }
}

fn max_batch_delay(duration: Option<&prost_types::Duration>) -> Result<Duration, RpcError> {
    let Some(asked) = duration else { return Ok(Duration::ZERO) };
    match Duration::try_from(*asked) {
        Ok(delay) if delay <= MAX_BATCH_DELAY => Ok(delay),
        _ => Err(RpcError::Invalid {
            field: "max_batch_delay",
            description: format!(
                "{}.{:09} s is out of range; use 0 to {} s",
                asked.seconds,
                asked.nanos.unsigned_abs(),
                MAX_BATCH_DELAY.as_secs()
            ),
        }),
    }
}

fn not_zero(field: &'static str, id: u32) -> Result<u32, RpcError> {
    if id == 0 {
        let description = format!("0 is no {field}; use the id of a live task, 1 or above");
        return Err(RpcError::Invalid { field, description });
    }
    Ok(id)
}
