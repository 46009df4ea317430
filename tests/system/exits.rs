//! Exits as a watcher receives them.

use anyhow::{Context, Result};
use nix::sys::signal::Signal;
use taskstats_proto::v1::Scope;
use taskstats_tests::agent::Agent;
use taskstats_tests::client::connect;
use taskstats_tests::kernel::ReferenceListener;
use taskstats_tests::machine_lock::MachineLock;
use taskstats_tests::watch::{Watch, tgid_of};
use taskstats_tests::workload::{Ended, Workload};
use taskstats_tests::{binaries, cpus};
use tonic::transport::Channel;

use crate::fields::delay_accounting;
use crate::support::{exit_status, identity, of_scope, own_ids, task};

/// Last task of its group (`AGROUP` in the kernel's `include/uapi/linux/acct.h`).
const LAST_OF_GROUP: u32 = 0x20;
/// Killed by a signal (`AXSIG`).
const KILLED: u32 = 0x10;
/// Threads of a process besides the first one.
const THREADS: usize = 3;
/// Processes of a churn.
const PROCESSES: usize = 20;
/// Bytes that the io workload writes and reads.
const IO_BYTES: u64 = 1024 * 1024;
/// The size of one write and read.
const IO_BLOCK: u64 = 512;

async fn watched() -> Result<(Agent, Channel, Watch)> {
    let agent = Agent::start().await?;
    let channel = connect(&agent.url()).await?;
    let watch = Watch::everything(&channel).await?;
    Ok((agent, channel, watch))
}

/// The first message describes the stream and the node.
#[tokio::test]
async fn the_first_message_describes_stream_and_node() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let (_agent, _channel, watch) = watched().await?;
    let started = watch.started();
    assert_eq!(started.cpumask, cpus::possible_list()?);
    assert!(!started.instance_id.is_empty() && !started.node_name.is_empty(), "{started:?}");
    let boot_id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
    assert_eq!(started.boot_id, boot_id.trim());
    assert_eq!(started.delay_accounting(), delay_accounting()?);
    assert!(started.taskstats_version > 0);
    Ok(())
}

/// A process that exits by itself shows its code, its identity, and that it was the whole process.
#[tokio::test]
async fn an_exit_code_is_seen() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let (_agent, _channel, mut watch) = watched().await?;
    let ended = Workload::run(&["exit", "7"]).await?;
    let event = watch.exit_of(ended.pid).await?;
    let status = exit_status(&event)?;
    assert_eq!((status.code, status.signal, status.core_dumped), (Some(7), None, false));
    assert_eq!(status.raw_status, 7 << 8);
    let identity = identity(task(&event)?)?;
    assert_eq!(identity.comm.as_deref(), Some("workload"));
    assert_eq!(identity.ppid, Some(own_ids()?.0));
    assert_eq!(identity.flags.unwrap_or_default() & LAST_OF_GROUP, LAST_OF_GROUP);
    assert_eq!((event.process, event.last_in_process), (None, Some(true)));
    assert!(event.received_at.is_some());
    Ok(())
}

/// A process that a signal ended shows the signal and no code.
#[tokio::test]
async fn a_killed_process_shows_its_signal() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let (_agent, _channel, mut watch) = watched().await?;
    let ended = Workload::waiting(&["idle"]).await?.kill().await?;
    let event = watch.exit_of(ended.pid).await?;
    let status = exit_status(&event)?;
    let signal = u32::try_from(Signal::SIGKILL as i32)?;
    assert_eq!((status.code, status.signal, status.raw_status), (None, Some(signal), signal));
    assert_eq!(identity(task(&event)?)?.flags.unwrap_or_default() & KILLED, KILLED);
    Ok(())
}

/// Every thread is an event; the last task of the process alone carries the group's record.
#[tokio::test]
async fn the_last_thread_has_the_group_record() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let (_agent, _channel, mut watch) = watched().await?;
    let workload = Workload::waiting(&["threads", &THREADS.to_string()]).await?;
    let ended = workload.end().await?;
    let last = watch.exit_of(ended.pid).await?;
    let others = exits_of(&watch, ended.pid).filter(|event| event.sequence != last.sequence);
    let flags: Vec<_> =
        others.map(|event| (event.last_in_process, event.process.is_some())).collect();
    assert_eq!(flags, [(Some(false), false); THREADS]);
    assert_eq!(last.last_in_process, Some(true));
    let group = last.process.as_ref().context("no group record")?;
    assert_eq!(identity(group)?.tgid, Some(ended.pid));
    assert_eq!((group.io, group.memory, group.exit), (None, None, None));
    Ok(())
}

/// The I/O of a process is in its statistics.
#[tokio::test]
async fn io_of_a_process_is_in_its_statistics() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let (_agent, _channel, mut watch) = watched().await?;
    // Beside the binaries, because a temporary directory may be a tmpfs.
    let directory = tempfile::tempdir_in(binaries::directory()?)?;
    let file = directory.path().join("file");
    let file = file.to_str().context("a path that is not UTF-8")?;
    let ended = Workload::run(&["io", &IO_BYTES.to_string(), file]).await?;
    let event = watch.exit_of(ended.pid).await?;
    let io = task(&event)?.io.context("no io")?;
    assert!(io.write_bytes >= IO_BYTES && io.write_chars_bytes >= IO_BYTES, "{io:?}");
    assert!(io.read_chars_bytes >= IO_BYTES, "{io:?}");
    let calls = IO_BYTES / IO_BLOCK;
    assert!(io.read_syscalls >= calls && io.write_syscalls >= calls, "{io:?}");
    Ok(())
}

/// `SCOPE_PROCESSES` has one event a process, and `SCOPE_THREADS` the others.
#[tokio::test]
async fn scopes_separate_processes_from_threads() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let (_agent, channel, mut all) = watched().await?;
    let mut processes = Watch::open(&channel, of_scope(Scope::Processes)).await?;
    let mut threads = Watch::open(&channel, of_scope(Scope::Threads)).await?;
    let first = Workload::waiting(&["threads", &THREADS.to_string()]).await?.end().await?;
    all.exit_of(first.pid).await?;
    processes.exit_of(first.pid).await?;
    let wanted: Vec<_> =
        exits_of(&all, first.pid).filter(|e| e.last_in_process == Some(false)).collect();
    let last_thread = wanted.last().and_then(|event| taskstats_tests::watch::pid_of(event));
    threads.exit_of_task(first.pid, last_thread.context("no threads")?).await?;
    assert_eq!(exits_of(&processes, first.pid).count(), 1);
    assert!(exits_of(&threads, first.pid).eq(wanted), "the same threads, in the same order");
    assert!(threads.seen().iter().all(|event| event.last_in_process == Some(false)));
    assert!(processes.seen().iter().all(|event| event.last_in_process == Some(true)));
    Ok(())
}

/// The agent sends the exits that a second listener received from the kernel.
#[tokio::test]
async fn exits_are_those_that_the_kernel_sent() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let mut reference = ReferenceListener::open(&cpus::online()?)?;
    let (_agent, _channel, mut watch) = watched().await?;
    let ended: Ended = Workload::run(&["churn-processes", &PROCESSES.to_string()]).await?;
    watch.exit_of(ended.pid).await?;
    let mut sent = Vec::new();
    for exit in reference.take()? {
        if exit.task.u32(taskstats_tests::kernel::offset::PPID)? == ended.pid {
            sent.push((exit.cpu, exit.kernel_sequence, exit.pid()?));
        }
    }
    let mut received = Vec::new();
    for event in watch.seen() {
        let identity = identity(task(event)?)?;
        if identity.ppid == Some(ended.pid) {
            let pid = identity.pid.context("no pid")?;
            received.push((event.cpu, event.kernel_sequence, pid));
        }
    }
    sent.sort_unstable();
    received.sort_unstable();
    assert_eq!(received, sent);
    assert_eq!(sent.len(), PROCESSES);
    assert_eq!(watch.sequence_check()?.lost_total(), 0);
    Ok(())
}

fn exits_of(watch: &Watch, tgid: u32) -> impl Iterator<Item = &taskstats_proto::v1::ExitEvent> {
    watch.seen().iter().filter(move |event| tgid_of(event) == Some(tgid))
}
