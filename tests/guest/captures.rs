//! `taskstatsd capture` on this kernel, and a small part of it to keep.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::BufReader;
use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use taskstats_tests::binaries;
use taskstats_tests::deadline::within;
use taskstats_tests::guarded_child::GuardedChild;
use taskstats_tests::kernel::ReferenceListener;
use taskstats_tests::workload::Workload;
use taskstatsd::capture::{CaptureEntry, CaptureHeader, CaptureReader, CaptureWriter};
use taskstatsd::taskstats::{Exit, decode_exit_message};
use tokio::io::{AsyncBufReadExt, BufReader as AsyncBufReader};
use tokio::process::Command;

use crate::exits;

/// Longer than this test needs; a signal ends the capture.
const SECONDS: &str = "600";
/// kthreadd, which executes no file.
const KTHREADD: u32 = 2;
/// Exits without a group's record that are kept: enough to differ, and few enough for a repository.
const KEPT_EXITS: usize = 24;
/// The name of the only tasks that are kept, because other tasks of the machine do not belong into
/// a repository.
const NAME: &[u8] = b"workload";

/// Captures exits and replies, checks that the capture has all that the reference listener
/// received, and returns a part of it.
pub(crate) async fn take(directory: &Path, reference: &mut ReferenceListener) -> Result<Vec<u8>> {
    let path = directory.join(format!("capture-{}", std::process::id()));
    let workload = Workload::waiting(&["threads", "2"]).await?;
    let ids =
        [format!("--pid={},{KTHREADD}", workload.pid()), format!("--tgid={}", workload.pid())];
    let mut command = Command::new(binaries::taskstatsd()?);
    command
        .args(["capture", "--seconds", SECONDS, "--output"])
        .arg(&path)
        .args(ids)
        .stderr(Stdio::piped());
    let mut capture = GuardedChild::spawn(&mut command)?;
    let mut stderr = AsyncBufReader::new(capture.stderr.take().context("no stderr")?).lines();
    // The line is printed when the agent listens.
    let line = within("the capture to begin", stderr.next_line()).await??;
    ensure!(line.as_ref().is_some_and(|line| line.contains("capturing")), "it said {line:?}");
    reference.take()?;
    workload.end().await?;
    exits::make_some(directory).await?;
    let heard = reference.take()?;
    kill(Pid::from_raw(capture.id().context("it has ended")?.try_into()?), Signal::SIGINT)?;
    let status = within("the capture to end", capture.wait()).await??;
    ensure!(status.success(), "it ended with {status}: {:?}", stderr.next_line().await?);
    let (header, entries) = read(&path)?;
    std::fs::remove_file(&path)?;
    let captured: BTreeSet<_> = entries.iter().filter_map(exit).map(|exit| key(&exit)).collect();
    for exit in heard {
        let key = (exit.cpu, exit.kernel_sequence, Some(exit.pid()?));
        ensure!(captured.contains(&key), "the capture lacks {key:?}");
    }
    write(&header, &choose(entries))
}

fn key(exit: &Exit) -> (u32, u32, Option<u32>) {
    (exit.cpu, exit.kernel_sequence, exit.task.identity.pid)
}

fn read(path: &Path) -> Result<(CaptureHeader, Vec<CaptureEntry>)> {
    let reader = CaptureReader::new(BufReader::new(File::open(path)?))?;
    let header = reader.header().clone();
    Ok((header, reader.collect::<Result<_, _>>()?))
}

fn exit(entry: &CaptureEntry) -> Option<Exit> {
    match entry {
        CaptureEntry::Exit { cpu, message, .. } => decode_exit_message(message, *cpu),
        CaptureEntry::Reply { .. } | CaptureEntry::Dropped { .. } => None,
    }
}

/// Keeps the replies, the exits that end a group of threads, and some of the others.
fn choose(entries: Vec<CaptureEntry>) -> Vec<CaptureEntry> {
    let mut others = 0;
    let mut is_kept = |entry: &CaptureEntry| match exit(entry) {
        Some(exit) => {
            let comm = exit.task.identity.task.map(|task| task.comm);
            let is_ours = comm.is_some_and(|comm| comm.as_bytes() == NAME);
            let is_other = exit.process.is_none();
            others += usize::from(is_ours && is_other);
            is_ours && (!is_other || others <= KEPT_EXITS)
        }
        None => matches!(entry, CaptureEntry::Reply { .. }),
    };
    entries.into_iter().filter(|entry| is_kept(entry)).collect()
}

fn write(header: &CaptureHeader, entries: &[CaptureEntry]) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut writer = CaptureWriter::new(&mut bytes, header)?;
    for entry in entries {
        writer.write(entry)?;
    }
    writer.finish(header.begun_at_ns)?;
    Ok(bytes)
}
