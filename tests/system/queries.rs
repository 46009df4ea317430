//! Queries of running tasks, compared with the kernel's own replies.

use anyhow::{Context, Result};
use taskstats_proto::v1::batch_get_result::{Id, Result as Outcome};
use taskstats_proto::v1::{BatchGetRequest, GetNodeRequest, GetTgidRequest};
use taskstats_tests::agent::Agent;
use taskstats_tests::client::service;
use taskstats_tests::fields::Comparison;
use taskstats_tests::kernel::Query;
use taskstats_tests::machine_lock::MachineLock;
use taskstats_tests::workload::Workload;
use taskstats_tests::{cpus, detailed_status::DetailedStatus};
use tonic::Code;

use crate::fields::{assert_between, delay_accounting};
use crate::support::{NO_SUCH_TASK, get_pid, get_threads, identity, own_ids, refused};

/// Threads of a process besides the first one.
const THREADS: usize = 3;
/// The most threads in a response.
const MOST_THREADS: usize = 6144;
/// The most ids in one batch.
const BATCH_LIMIT: usize = 1000;
/// kthreadd, in the initial pid namespace.
const KTHREADD: u32 = 2;

/// Every field of a sleeping task equals an independent query.
#[tokio::test]
async fn every_field_of_a_task_is_the_kernels() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let agent = Agent::start().await?;
    let mut client = service(&agent.url()).await?;
    let mut kernel = Query::open()?;
    let workload = Workload::waiting(&["idle"]).await?;
    let before = kernel.pid(workload.pid())?;
    let stats = get_pid(&mut client, workload.pid()).await?;
    let after = kernel.pid(workload.pid())?;
    assert_between(&before, &stats, &after)?;
    assert_eq!(identity(&stats)?.pid, Some(workload.pid()));
    assert_eq!(identity(&stats)?.ppid, Some(own_ids()?.0));
    assert_eq!(identity(&stats)?.comm.as_deref(), Some("workload"));
    Ok(())
}

/// A thread that is not the first of its process has its own statistics.
#[tokio::test]
async fn a_thread_is_found_by_its_own_id() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let agent = Agent::start().await?;
    let mut client = service(&agent.url()).await?;
    let workload = Workload::waiting(&["threads", "1"]).await?;
    let threads = get_threads(&mut client, workload.pid()).await?;
    let thread = identity(threads.last().context("no threads")?)?.pid.context("no pid")?;
    let stats = get_pid(&mut client, thread).await?;
    assert_ne!(thread, workload.pid());
    assert_eq!(identity(&stats)?.tgid, Some(workload.pid()));
    Ok(())
}

/// A kernel thread executes no file, and so has no executable.
#[tokio::test]
async fn a_kernel_thread_has_no_executable() -> Result<()> {
    let _lock = MachineLock::shared()?;
    assert_eq!(std::fs::read_to_string(format!("/proc/{KTHREADD}/comm"))?.trim(), "kthreadd");
    let agent = Agent::start().await?;
    let stats = get_pid(&mut service(&agent.url()).await?, KTHREADD).await?;
    assert_eq!(stats.executable, None);
    Ok(())
}

/// The record of a process has the fields that the kernel sums up for it, and no others.
#[tokio::test]
async fn a_process_has_what_the_kernel_sums_and_nothing_else() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let agent = Agent::start().await?;
    let mut client = service(&agent.url()).await?;
    let mut kernel = Query::open()?;
    let workload = Workload::waiting(&["threads", &THREADS.to_string()]).await?;
    let before = kernel.tgid(workload.pid())?;
    let request =
        GetTgidRequest { tgid: workload.pid(), include_threads: false, ..Default::default() };
    let response = client.get_tgid(request).await?.into_inner();
    let after = kernel.tgid(workload.pid())?;
    assert_eq!(response.threads, []);
    let stats = response.stats.context("a process without statistics")?;
    let id = (workload.pid(), before.version()?);
    Comparison::default().group(id, &before, &stats, &after)
}

/// The threads of a process are in the response if requested, by ascending id.
#[tokio::test]
async fn a_process_has_all_its_threads() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let agent = Agent::start().await?;
    let mut client = service(&agent.url()).await?;
    let workload = Workload::waiting(&["threads", &THREADS.to_string()]).await?;
    let threads = get_threads(&mut client, workload.pid()).await?;
    let ids: Vec<_> = threads.iter().filter_map(|stats| identity(stats).ok()?.pid).collect();
    assert_eq!(ids, threads_of(workload.pid())?);
    assert_eq!(ids.len(), THREADS + 1);
    let tgids = threads.iter().filter_map(|stats| identity(stats).ok()?.tgid);
    assert!(tgids.into_iter().all(|tgid| tgid == workload.pid()), "{threads:?}");
    Ok(())
}

/// A response has a size that clients accept; a process with more threads is refused, and succeeds
/// without its threads.
#[tokio::test]
async fn a_process_with_very_many_threads_is_served_without_them() -> Result<()> {
    let _lock = MachineLock::exclusive()?;
    let agent = Agent::start().await?;
    let mut client = service(&agent.url()).await?;
    let workload = Workload::waiting(&["threads", &(MOST_THREADS - 1).to_string()]).await?;
    assert_eq!(get_threads(&mut client, workload.pid()).await?.len(), MOST_THREADS);
    let one_more = Workload::waiting(&["threads", &MOST_THREADS.to_string()]).await?;
    let tgid = one_more.pid();
    let answer =
        client.get_tgid(GetTgidRequest { tgid, include_threads: true, ..Default::default() }).await;
    let refusal: DetailedStatus = refused(answer)?;
    assert_eq!(refusal.code, Code::FailedPrecondition);
    assert_eq!(refusal.reason.as_deref(), Some("TOO_MANY_THREADS"));
    client.get_tgid(GetTgidRequest { tgid, include_threads: false, ..Default::default() }).await?;
    Ok(())
}

/// A missing or invalid id of a batch has an error of its own and does not affect others.
#[tokio::test]
async fn a_batch_answers_every_id_in_order() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let agent = Agent::start().await?;
    let mut client = service(&agent.url()).await?;
    let workload = Workload::waiting(&["idle"]).await?;
    let pids = vec![workload.pid(), NO_SUCH_TASK, 0, std::process::id()];
    let tgids = vec![NO_SUCH_TASK, workload.pid()];
    let request =
        BatchGetRequest { pids: pids.clone(), tgids: tgids.clone(), ..Default::default() };
    let results = client.batch_get(request).await?.into_inner().results;
    let asked = pids.into_iter().map(Id::Pid).chain(tgids.into_iter().map(Id::Tgid));
    let ids: Vec<_> = results.iter().filter_map(|result| result.id).collect();
    assert_eq!(ids, asked.collect::<Vec<_>>());
    let codes: Vec<_> = results.iter().filter_map(|r| r.result.as_ref().map(code)).collect();
    let (ok, not_found, invalid) = (Code::Ok, Code::NotFound, Code::InvalidArgument);
    assert_eq!(codes, [ok, not_found, invalid, ok, not_found, ok]);
    Ok(())
}

/// A batch of the largest size succeeds, and one more id is refused.
#[tokio::test]
async fn a_batch_has_a_limit() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let agent = Agent::start().await?;
    let mut client = service(&agent.url()).await?;
    let batch = |size| BatchGetRequest {
        pids: vec![NO_SUCH_TASK; size],
        tgids: vec![],
        ..Default::default()
    };
    let results = client.batch_get(batch(BATCH_LIMIT)).await?.into_inner().results;
    assert_eq!(results.len(), BATCH_LIMIT);
    let mut too_large = batch(BATCH_LIMIT);
    too_large.tgids.push(NO_SUCH_TASK);
    let refusal: DetailedStatus = refused(client.batch_get(too_large).await)?;
    assert_eq!(refusal.code, Code::InvalidArgument);
    let description = &refusal.violations.first().context("no violation")?.1;
    assert!(description.contains("1001") && description.contains("1000"), "{description}");
    Ok(())
}

/// The node describes itself as the kernel describes it.
#[tokio::test]
async fn the_node_describes_itself() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let agent = Agent::start_with(["--node-name", "node-7", "--history-bytes", "1MiB"]).await?;
    let mut client = service(&agent.url()).await?;
    let node = client.get_node(GetNodeRequest {}).await?.into_inner();
    let version = Query::open()?.pid(std::process::id())?.version()?;
    assert_eq!(node.node_name, "node-7");
    assert_eq!(node.boot_id, kernel_says("random/boot_id")?);
    assert_eq!(node.kernel_release, kernel_says("osrelease")?);
    assert_eq!(node.taskstats_version, version);
    assert_eq!(node.possible_cpus, cpus::possible_list()?);
    assert_eq!(node.online_cpus, cpus::online_list()?);
    assert_eq!(node.delay_accounting(), delay_accounting()?);
    assert!(node.exits.context("no exits status")?.watchable);
    assert_eq!(node.history.context("no history")?.capacity_bytes, 1024 * 1024);
    Ok(())
}

fn code(outcome: &Outcome) -> Code {
    match outcome {
        Outcome::Stats(_) => Code::Ok,
        Outcome::Error(error) => Code::from_i32(error.code),
    }
}

fn threads_of(process: u32) -> Result<Vec<u32>> {
    let mut threads = Vec::new();
    for entry in std::fs::read_dir(format!("/proc/{process}/task"))? {
        threads.push(entry?.file_name().to_string_lossy().parse()?);
    }
    threads.sort_unstable();
    Ok(threads)
}

fn kernel_says(name: &str) -> Result<String> {
    let path = format!("/proc/sys/kernel/{name}");
    Ok(std::fs::read_to_string(path)?.trim().to_owned())
}
