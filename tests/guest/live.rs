//! Statistics of running tasks from the agent, compared with the kernel's.

use anyhow::{Context, Result, ensure};
use taskstats_proto::v1::batch_get_result::Result as Outcome;
use taskstats_proto::v1::{
    BatchGetRequest, GetPidRequest, GetTgidRequest, GetTgidResponse, TaskStats,
};
use taskstats_tests::client::Client;
use taskstats_tests::fields::Comparison;
use taskstats_tests::kernel::{Query, Record};
use taskstats_tests::workload::Workload;
use tonic::Code;
use tonic::transport::Channel;

/// Threads of a process besides the first one.
const THREADS: usize = 3;
/// kthreadd, which executes no file.
const KTHREADD: u32 = 2;
/// No task has this id: it is above the kernel's limit (`PID_MAX_LIMIT`).
const NO_SUCH_TASK: u32 = 4_194_305;

/// Compares the statistics of tasks, a process, its threads, and a batch; returns their number.
pub(crate) async fn compare(channel: &Channel, comparison: &mut Comparison) -> Result<usize> {
    let mut client = Client::new(channel.clone());
    let mut kernel = Query::open()?;
    let workload = Workload::waiting(&["threads", &THREADS.to_string()]).await?;
    let mut compared = 0;
    for pid in [workload.pid(), KTHREADD] {
        let before = kernel.pid(pid)?;
        let stats =
            client.get_pid(GetPidRequest { pid, ..Default::default() }).await?.into_inner().stats;
        let stats = stats.context("a task without statistics")?;
        comparison
            .live(&before, &stats, &kernel.pid(pid)?)
            .with_context(|| format!("{stats:?}"))?;
        compared += 1;
    }
    compared += process(workload.pid(), &mut client, &mut kernel, comparison).await?;
    compared += batch(workload.pid(), &mut client, &mut kernel, comparison).await?;
    let refused = client.get_pid(GetPidRequest { pid: NO_SUCH_TASK, ..Default::default() }).await;
    let code = refused.map_or_else(|status| status.code(), |_| Code::Ok);
    ensure!(code == Code::NotFound, "a task that does not exist is {code:?}");
    workload.end().await?;
    Ok(compared)
}

async fn process(
    tgid: u32,
    client: &mut Client,
    kernel: &mut Query,
    comparison: &mut Comparison,
) -> Result<usize> {
    let before = kernel.tgid(tgid)?;
    let threads_before = records(tgid, kernel)?;
    let request = GetTgidRequest { tgid, include_threads: true, ..Default::default() };
    let GetTgidResponse { stats, threads, .. } = client.get_tgid(request).await?.into_inner();
    let threads_after = records(tgid, kernel)?;
    let stats = stats.context("a process without statistics")?;
    let version = kernel.pid(tgid)?.version()?;
    comparison.group((tgid, version), &before, &stats, &kernel.tgid(tgid)?)?;
    ensure!(threads.len() == THREADS + 1, "{} threads", threads.len());
    for ((before, stats), after) in threads_before.iter().zip(&threads).zip(&threads_after) {
        comparison.live(before, stats, after).context("a thread")?;
    }
    Ok(1 + threads.len())
}

async fn batch(
    pid: u32,
    client: &mut Client,
    kernel: &mut Query,
    comparison: &mut Comparison,
) -> Result<usize> {
    let before = (kernel.pid(pid)?, kernel.tgid(pid)?);
    let request =
        BatchGetRequest { pids: vec![NO_SUCH_TASK, pid], tgids: vec![pid], ..Default::default() };
    let results = client.batch_get(request).await?.into_inner().results;
    let mut stats = results.into_iter().map(|result| match result.result {
        Some(Outcome::Stats(stats)) => Some(stats),
        Some(Outcome::Error(_)) | None => None,
    });
    let mut next = || -> Result<Option<TaskStats>> { stats.next().context("too few results") };
    ensure!(next()?.is_none(), "a task that does not exist has statistics");
    let (task, group) = (next()?.context("no task")?, next()?.context("no group")?);
    comparison.live(&before.0, &task, &kernel.pid(pid)?)?;
    let id = (pid, before.0.version()?);
    comparison.group(id, &before.1, &group, &kernel.tgid(pid)?)?;
    Ok(2)
}

/// The records of a process' threads, by ascending id.
fn records(tgid: u32, kernel: &mut Query) -> Result<Vec<Record>> {
    let mut threads = Vec::new();
    for entry in std::fs::read_dir(format!("/proc/{tgid}/task"))? {
        threads.push(entry?.file_name().to_string_lossy().parse()?);
    }
    threads.sort_unstable();
    threads.into_iter().map(|pid| kernel.pid(pid)).collect()
}
