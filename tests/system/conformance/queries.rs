//! Rules for questions about live tasks.

use anyhow::{Context, Result};
use taskstatsd::taskstats::{KernelError, Stats, TaskId};

use super::host::Host;

/// Since when a group's sums have the context switches of its dead.
pub(super) const DEAD_SWITCHES_SINCE: u16 = 14;
/// Threads besides the first one.
const THREADS: usize = 3;

pub(super) async fn a_live_task_is_found<H: Host>() -> Result<()> {
    let host = H::open()?;
    let process = host.start(0).await?;
    let pid = H::pid_of(&process);
    let stats = host.kernel().query(TaskId::Pid(pid))?;
    let (identity, version) = (&stats.identity, host.kernel().version()?);
    assert_eq!((identity.pid, identity.tgid, stats.version), (Some(pid), Some(pid), version));
    assert_eq!(stats.exit_status, None);
    assert!(stats.memory.is_some() && stats.elapsed_us.is_some());
    let group = host.kernel().query(TaskId::Tgid(pid))?;
    assert_eq!((group.identity.pid, group.identity.tgid), (None, Some(pid)));
    assert_eq!((group.memory, group.version), (None, version));
    host.end(process).await
}

pub(super) async fn no_task_has_an_unknown_id<H: Host>() -> Result<()> {
    let host = H::open()?;
    for id in [0, u32::MAX, 4_194_305] {
        assert_nobody(&host, id);
    }
    Ok(())
}

pub(super) async fn an_ended_task_is_not_found<H: Host>() -> Result<()> {
    let host = H::open()?;
    let process = host.start(THREADS).await?;
    let pid = H::pid_of(&process);
    let threads = host.kernel().threads(pid)?;
    host.end(process).await?;
    threads.into_iter().for_each(|pid| assert_nobody(&host, pid));
    Ok(())
}

pub(super) async fn a_group_is_found_by_any_of_its_tasks<H: Host>() -> Result<()> {
    let host = H::open()?;
    let process = host.start(THREADS).await?;
    let threads = host.kernel().threads(H::pid_of(&process))?;
    let mut counts = Vec::new();
    for pid in threads {
        let group = host.kernel().query(TaskId::Tgid(pid))?;
        assert_eq!(group.identity.tgid, Some(pid), "the requested id");
        counts.push(cpu_waits(&group)?);
    }
    assert!(counts.is_sorted() && counts.len() == THREADS + 1, "one group: {counts:?}");
    host.end(process).await
}

pub(super) async fn the_threads_of_a_group_are_listed<H: Host>() -> Result<()> {
    let host = H::open()?;
    let process = host.start(THREADS).await?;
    let tgid = H::pid_of(&process);
    let threads = host.kernel().threads(tgid)?;
    assert!(threads.is_sorted() && threads.len() == THREADS + 1, "{threads:?}");
    for pid in threads {
        let identity = host.kernel().query(TaskId::Pid(pid))?.identity;
        assert_eq!((identity.pid, identity.tgid), (Some(pid), Some(tgid)));
    }
    host.end(process).await
}

pub(super) async fn an_unknown_id_does_not_affect_others<H: Host>() -> Result<()> {
    let host = H::open()?;
    let process = host.start(0).await?;
    let pid = H::pid_of(&process);
    let ids = [TaskId::Pid(u32::MAX), TaskId::Tgid(pid), TaskId::Pid(0), TaskId::Pid(pid)];
    let answers = host.kernel().query_many(&ids)?;
    let found: Vec<_> = answers.iter().map(Result::is_ok).collect();
    assert_eq!(found, [false, true, false, true]);
    host.end(process).await
}

/// Of the process that lives on, and of the threads that have ended, each of which slept once at
/// least.
pub(super) async fn a_live_group_counts_its_dead<H: Host>() -> Result<()> {
    let host = H::open()?;
    let process = host.outlive(THREADS).await?;
    let tgid = H::pid_of(&process);
    let group = sleeps(&host.kernel().query(TaskId::Tgid(tgid))?)?;
    let alone = sleeps(&host.kernel().query(TaskId::Pid(tgid))?)?;
    let counts_the_dead = host.kernel().version()? >= DEAD_SWITCHES_SINCE;
    let has_them = group >= alone + THREADS as u64;
    assert_eq!(has_them, counts_the_dead, "{group} of a group, {alone} of who lives");
    host.end(process).await
}

fn assert_nobody(host: &impl Host, id: u32) {
    for id in [TaskId::Pid(id), TaskId::Tgid(id)] {
        let outcome = host.kernel().query(id);
        assert!(
            matches!(outcome, Err(KernelError::NoSuchTask(asked)) if asked == id),
            "{outcome:?}"
        );
    }
}

/// Returns how often a task or a group gave up its CPU voluntarily.
pub(super) fn sleeps(stats: &Stats) -> Result<u64> {
    Ok(stats.context_switches.context("no context switches")?.voluntary)
}

/// Returns how often a task or a group waited for a CPU, which the kernel always counts.
pub(super) fn cpu_waits(stats: &Stats) -> Result<u64> {
    Ok(stats.delays[0].context("no waits for a CPU")?.count)
}
