//! The statistics of thread groups and batches, each with what its delays cover.

use taskstats_proto::v1;
use taskstats_proto::v1::batch_get_result::{Id, Result as Outcome};
use tonic::Status;

use super::convert::task_stats;
use super::slow_call::SlowCall;
use super::{RpcError, request};
use crate::taskstats::{DelayAccounting, Kernel, KernelError, Stats, TaskId};

/// The largest number of threads in one response. Each has some 400 bytes, and could
/// have 680 within the 4 MiB that clients accept by default.
const MAX_THREADS: usize = 6 * 1024;

type Queried = Result<Stats, KernelError>;

/// Returns the statistics of a group, and of its threads on request, for which `permits` grows.
pub(super) fn process(
    kernel: &dyn Kernel,
    tgid: u32,
    include_threads: bool,
    permits: &mut SlowCall,
) -> Result<v1::GetTgidResponse, RpcError> {
    let accounting = kernel.delay_accounting();
    let group = kernel.query(TaskId::Tgid(tgid))?;
    let leader = match accounting.needs_leader() {
        true => kernel.query(TaskId::Pid(tgid)).ok(),
        false => None,
    };
    let threads = if include_threads { threads(kernel, tgid, permits)? } else { Vec::new() };
    let threads =
        threads.iter().map(|task| task_stats(task, accounting.task_coverage(task))).collect();
    Ok(v1::GetTgidResponse {
        stats: Some(group_stats(&group, leader.as_ref(), accounting)),
        threads,
        ..v1::GetTgidResponse::default()
    })
}

/// Returns the statistics of many tasks and groups, in order.
pub(super) fn batch(
    kernel: &dyn Kernel,
    ids: &[TaskId],
) -> Result<Vec<v1::BatchGetResult>, RpcError> {
    let accounting = kernel.delay_accounting();
    let found = kernel.query_many(ids)?;
    let leaders = leaders(kernel, ids, accounting)?;
    let results = ids.iter().zip(found).zip(&leaders);
    let entry = |((id, queried), leader): ((&TaskId, Queried), &Option<Stats>)| {
        entry(*id, queried, leader.as_ref(), accounting)
    };
    Ok(results.map(entry).collect())
}

/// Returns the first task of each group among `ids`, where the begin of its delay accounting is
/// needed: a group's record does not contain it.
fn leaders(
    kernel: &dyn Kernel,
    ids: &[TaskId],
    accounting: DelayAccounting,
) -> Result<Vec<Option<Stats>>, KernelError> {
    let leader = |id: &TaskId| match *id {
        TaskId::Tgid(tgid) if accounting.needs_leader() => Some(TaskId::Pid(tgid)),
        TaskId::Tgid(_) | TaskId::Pid(_) => None,
    };
    let wanted: Vec<TaskId> = ids.iter().filter_map(leader).collect();
    if wanted.is_empty() {
        return Ok(vec![None; ids.len()]);
    }
    let mut leaders = kernel.query_many(&wanted)?.into_iter();
    let next = |id| leader(id).and_then(|_| leaders.next()?.ok());
    Ok(ids.iter().map(next).collect())
}

/// Returns the statistics of a group's threads, without threads that end meanwhile.
fn threads(kernel: &dyn Kernel, tgid: u32, permits: &mut SlowCall) -> Result<Vec<Stats>, RpcError> {
    let shown = kernel.threads(tgid);
    if matches!(shown, Err(KernelError::NoSuchTask(_))) {
        // Either it has ended, which the query reports, or procfs hides it (`hidepid`).
        kernel.query(TaskId::Tgid(tgid))?;
        return Err(KernelError::HiddenThreads(tgid).into());
    }
    let ids: Vec<TaskId> = shown?.into_iter().map(TaskId::Pid).collect();
    let (threads, limit) = (ids.len(), permits.max_tasks(MAX_THREADS));
    if threads > limit {
        return Err(RpcError::ManyThreads { tgid, threads, limit });
    }
    permits.grow_to(threads)?;
    let found = kernel.query_many(&ids)?;
    let gone = |queried: &Queried| matches!(queried, Err(KernelError::NoSuchTask(_)));
    let alive = found.into_iter().filter(|queried| !gone(queried));
    Ok(alive.collect::<Result<_, KernelError>>()?)
}

fn group_stats(
    group: &Stats,
    leader: Option<&Stats>,
    accounting: DelayAccounting,
) -> v1::TaskStats {
    task_stats(group, accounting.live_group_coverage(group, leader))
}

fn entry(
    id: TaskId,
    queried: Queried,
    leader: Option<&Stats>,
    accounting: DelayAccounting,
) -> v1::BatchGetResult {
    let (named, checked) = match id {
        TaskId::Pid(pid) => (Id::Pid(pid), request::pid(pid)),
        TaskId::Tgid(tgid) => (Id::Tgid(tgid), request::tgid(tgid)),
    };
    let outcome = checked.and_then(|_| queried.map_err(RpcError::from));
    let result = match (id, outcome) {
        (TaskId::Pid(_), Ok(task)) => {
            Outcome::Stats(task_stats(&task, accounting.task_coverage(&task)))
        }
        (TaskId::Tgid(_), Ok(group)) => Outcome::Stats(group_stats(&group, leader, accounting)),
        (_, Err(error)) => {
            let status = Status::from(error);
            Outcome::Error(v1::BatchGetError {
                code: status.code().into(),
                message: status.message().to_owned(),
            })
        }
    };
    v1::BatchGetResult { id: Some(named), result: Some(result), ..v1::BatchGetResult::default() }
}
