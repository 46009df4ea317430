//! Functions that several tests need.

use anyhow::{Context, Result, bail};
use nix::unistd::gettid;
use taskstats_proto::v1::{
    ExitEvent, ExitStatus, GetNodeRequest, GetPidRequest, GetTgidRequest, Identity, Limit, Scope,
    TaskStats, WatchExitsRequest,
};
use taskstats_tests::client::Client;
use taskstats_tests::deadline::within;
use taskstats_tests::detailed_status::DetailedStatus;
use tonic::{Code, Response, Status};

/// No task has this id: it is above the kernel's limit (`PID_MAX_LIMIT`).
pub(crate) const NO_SUCH_TASK: u32 = 4_194_305;

pub(crate) async fn get_pid(client: &mut Client, pid: u32) -> Result<TaskStats> {
    let response = client.get_pid(GetPidRequest { pid, ..Default::default() }).await?.into_inner();
    response.stats.context("a task without statistics")
}

pub(crate) async fn get_threads(client: &mut Client, tgid: u32) -> Result<Vec<TaskStats>> {
    let request = GetTgidRequest { tgid, include_threads: true, ..Default::default() };
    Ok(client.get_tgid(request).await?.into_inner().threads)
}

/// The refusal of a call that must not succeed.
pub(crate) fn refused<T>(outcome: Result<Response<T>, Status>) -> Result<DetailedStatus> {
    match outcome {
        Ok(_) => bail!("the call succeeded"),
        Err(status) => Ok(DetailedStatus::from(&status)),
    }
}

/// The refusal inside the error of a harness function.
pub(crate) fn refusal_in<T>(outcome: Result<T>) -> Result<DetailedStatus> {
    match outcome {
        Ok(_) => bail!("the call succeeded"),
        Err(error) => {
            Ok(DetailedStatus::from(error.downcast_ref::<Status>().context("no status")?))
        }
    }
}

pub(crate) fn on_cpus(cpumask: &str) -> WatchExitsRequest {
    WatchExitsRequest { cpumask: cpumask.to_owned(), ..WatchExitsRequest::default() }
}

pub(crate) fn of_scope(scope: Scope) -> WatchExitsRequest {
    WatchExitsRequest { scope: scope.into(), ..WatchExitsRequest::default() }
}

pub(crate) fn task(event: &ExitEvent) -> Result<&TaskStats> {
    event.task.as_ref().context("an exit without statistics")
}

pub(crate) fn identity(stats: &TaskStats) -> Result<&Identity> {
    stats.identity.as_ref().context("statistics without identity")
}

pub(crate) fn exit_status(event: &ExitEvent) -> Result<&ExitStatus> {
    task(event)?.exit.as_ref().context("an exit without status")
}

/// Returns the ids of this process and of the calling thread.
pub(crate) fn own_ids() -> Result<(u32, u32)> {
    Ok((std::process::id(), u32::try_from(gettid().as_raw())?))
}

/// Returns how often the agent refused something because of a limit.
pub(crate) async fn count_refused(client: &mut Client, limit: Limit) -> Result<u64> {
    let node = client.get_node(GetNodeRequest {}).await?.into_inner();
    let refused = node.counters.context("no counters")?.refused;
    Ok(refused.iter().filter(|refused| refused.limit() == limit).map(|it| it.count).sum())
}

/// Waits until the agent has refused something so often, and no more.
pub(crate) async fn until_counted(client: &mut Client, limit: Limit, wanted: u64) -> Result<()> {
    let counted = within("the count of a limit", async {
        loop {
            let count = count_refused(client, limit).await?;
            if count >= wanted {
                return anyhow::Ok(count);
            }
        }
    });
    assert_eq!(counted.await??, wanted, "{limit:?}");
    Ok(())
}

/// Checks for an error with a retry delay that names the flag.
pub(crate) fn assert_busy(refusal: &DetailedStatus, flag: &str) {
    assert_eq!((refusal.code, refusal.retry), (Code::ResourceExhausted, true), "{refusal:?}");
    assert!(refusal.message.contains(flag), "{refusal:?}");
}

/// Calls until the agent responds without an error.
pub(crate) async fn until_it_works(client: &mut Client) -> Result<()> {
    let trying = async { while get_pid(client, std::process::id()).await.is_err() {} };
    within("a call that works", trying).await
}
