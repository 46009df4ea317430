//! Exits reported by the agent, compared with those that a second listener received.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use taskstats_proto::v1::ExitEvent;
use taskstats_tests::fields::Comparison;
use taskstats_tests::kernel::{ReferenceListener, SeenExit, offset};
use taskstats_tests::watch::Watch;
use taskstats_tests::workload::Workload;

/// The version since which a task's record says that its process ended, and the flag for it
/// (`AGROUP`).
const LAST_OF_GROUP_SINCE: u32 = 12;
const LAST_OF_GROUP: u8 = 0x20;
/// The class of delay that each new process has some of, and since when there is that class.
pub(crate) const WRITE_PROTECT_COPY: (usize, u32) = (6, 13);
/// Threads of a process besides the first one.
const THREADS: &str = "3";
/// Bytes that are written to a file and read back: in blocks of 512 bytes they need more calls than
/// the 1,024 that the kernel rounds to.
const IO_BYTES: &str = "1048576";
/// Tasks that only end.
const CHURN: &str = "40";

/// The compared exits.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Tally {
    /// All.
    pub(crate) exits: usize,
    /// Those with a group's record.
    pub(crate) groups: usize,
    /// True if one of them waited for a page to be copied: the scheduler always records waits for a
    /// CPU, but these only with delay accounting.
    pub(crate) has_waited: bool,
}

/// Makes tasks end in different ways: by themselves, by a signal, with threads, after I/O, many.
pub(crate) async fn make_some(directory: &Path) -> Result<()> {
    let ended = Workload::run(&["exit", "7"]).await?;
    ensure!(ended.status.code() == Some(7), "{:?}", ended.status);
    Workload::waiting(&["idle"]).await?.kill().await?;
    Workload::waiting(&["threads", THREADS]).await?.end().await?;
    Workload::waiting(&["threads", THREADS]).await?.kill().await?;
    let file = directory.join(format!("io-{}", std::process::id()));
    let file = file.to_str().context("a path that is not UTF-8")?;
    ensure!(Workload::run(&["io", IO_BYTES, file]).await?.status.success(), "I/O failed");
    Workload::run(&["churn-processes", CHURN]).await?;
    Workload::run(&["churn-threads", CHURN]).await?;
    Ok(())
}

/// Compares each exit of the reference listener with the agent's.
pub(crate) async fn compare(
    reference: &mut ReferenceListener,
    watch: &mut Watch,
    comparison: &mut Comparison,
) -> Result<Tally> {
    let mut tally = Tally::default();
    for exit in reference.take()? {
        let event = same_message(&exit, watch).await?;
        compare_one(&exit, &event, comparison).with_context(|| format!("{event:?}"))?;
        tally.exits += 1;
        tally.groups += usize::from(exit.group.is_some());
        tally.has_waited |= has_waited(&exit)?;
    }
    ensure!(tally.exits > 0 && tally.groups > 0, "too little happened: {tally:?}");
    Ok(tally)
}

/// Reads the stream until it has the exit: the kernel numbers messages by CPU.
async fn same_message(exit: &SeenExit, watch: &mut Watch) -> Result<ExitEvent> {
    let key = (exit.cpu, exit.kernel_sequence);
    loop {
        let mut seen = watch.seen().iter();
        if let Some(event) = seen.find(|event| (event.cpu, event.kernel_sequence) == key) {
            return Ok(event.clone());
        }
        watch.next().await?.with_context(|| format!("the stream ended before {exit:?}"))?;
    }
}

fn compare_one(exit: &SeenExit, event: &ExitEvent, comparison: &mut Comparison) -> Result<()> {
    let task = event.task.as_ref().context("an exit without statistics")?;
    comparison.exit(&exit.task, task)?;
    ensure!(event.process.is_some() == exit.group.is_some(), "another group record");
    if let (Some(process), Some((tgid, record))) = (&event.process, &exit.group) {
        let id = (*tgid, exit.task.version()?);
        comparison.group(id, record, process, record).context("group record")?;
    }
    let last = event.last_in_process;
    ensure!(last == last_in_process(exit)?, "the end of the process: {last:?}");
    Ok(())
}

fn has_waited(exit: &SeenExit) -> Result<bool> {
    let (class, since) = WRITE_PROTECT_COPY;
    Ok(exit.task.version()? >= since && exit.task.u64(offset::DELAYS[class])? > 0)
}

/// Returns whether the process ended, if the kernel reports it.
fn last_in_process(exit: &SeenExit) -> Result<Option<bool>> {
    if exit.task.version()? < LAST_OF_GROUP_SINCE {
        return Ok(exit.group.is_some().then_some(true));
    }
    Ok(Some(exit.task.u8(offset::FLAG)? & LAST_OF_GROUP != 0))
}
