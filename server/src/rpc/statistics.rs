//! The accounts of groups and of many at once, each with a word on what its delays cover.

use taskstats_proto::v1;
use taskstats_proto::v1::batch_get_result::{Id, Result as Outcome};
use tonic::Status;

use super::convert::task_stats;
use super::slow_call::SlowCall;
use super::{RpcError, request};
use crate::taskstats::{DelayAccounting, Kernel, KernelError, Stats, TaskId};

/// The most threads whose accounts are told at once. They take some 400 bytes each, and the 4 MiB that
/// clients accept by default have room for 680.
const MOST_THREADS: usize = 6 * 1024;

type Account = Result<Stats, KernelError>;

/// The account of a group, and of its threads if they are wanted, which take more of `places`.
pub(super) fn process(
    kernel: &dyn Kernel,
    tgid: u32,
    include_threads: bool,
    places: &mut SlowCall,
) -> Result<v1::GetTgidResponse, RpcError> {
    let accounting = kernel.delay_accounting();
    let group = kernel.query(TaskId::Tgid(tgid))?;
    let leader = match accounting.needs_leader() {
        true => kernel.query(TaskId::Pid(tgid)).ok(),
        false => None,
    };
    let threads = if include_threads { threads(kernel, tgid, places)? } else { Vec::new() };
    let threads =
        threads.iter().map(|task| task_stats(task, accounting.task_coverage(task))).collect();
    Ok(v1::GetTgidResponse {
        stats: Some(group_stats(&group, leader.as_ref(), accounting)),
        threads,
        ..v1::GetTgidResponse::default()
    })
}

/// The accounts of many, in order.
pub(super) fn batch(
    kernel: &dyn Kernel,
    ids: &[TaskId],
) -> Result<Vec<v1::BatchGetResult>, RpcError> {
    let accounting = kernel.delay_accounting();
    let accounts = kernel.query_many(ids)?;
    let leaders = leaders(kernel, ids, accounting)?;
    let results = ids.iter().zip(accounts).zip(&leaders);
    let entry = |((id, account), leader): ((&TaskId, Account), &Option<Stats>)| {
        entry(*id, account, leader.as_ref(), accounting)
    };
    Ok(results.map(entry).collect())
}

/// The first task of each group among `ids`, which a group's record does not tell of, as far as
/// they are needed.
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
    let mut found = kernel.query_many(&wanted)?.into_iter();
    let next = |id| leader(id).and_then(|_| found.next()?.ok());
    Ok(ids.iter().map(next).collect())
}

/// The accounts of a group's threads. Those that end meanwhile are left out.
fn threads(kernel: &dyn Kernel, tgid: u32, places: &mut SlowCall) -> Result<Vec<Stats>, RpcError> {
    let shown = kernel.threads(tgid);
    if matches!(shown, Err(KernelError::NoSuchTask(_))) {
        // It may have ended meanwhile, which the kernel says, or procfs may hide it (`hidepid`).
        kernel.query(TaskId::Tgid(tgid))?;
        return Err(KernelError::HiddenThreads(tgid).into());
    }
    let ids: Vec<TaskId> = shown?.into_iter().map(TaskId::Pid).collect();
    let (threads, limit) = (ids.len(), places.most_of(MOST_THREADS));
    if threads > limit {
        return Err(RpcError::ManyThreads { tgid, threads, limit });
    }
    places.grow_to(threads)?;
    let accounts = kernel.query_many(&ids)?;
    let gone = |account: &Account| matches!(account, Err(KernelError::NoSuchTask(_)));
    let alive = accounts.into_iter().filter(|account| !gone(account));
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
    account: Account,
    leader: Option<&Stats>,
    accounting: DelayAccounting,
) -> v1::BatchGetResult {
    let (named, checked) = match id {
        TaskId::Pid(pid) => (Id::Pid(pid), request::pid(pid)),
        TaskId::Tgid(tgid) => (Id::Tgid(tgid), request::tgid(tgid)),
    };
    let outcome = checked.and_then(|_| account.map_err(RpcError::from));
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
