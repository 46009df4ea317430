//! Makes tasks exit in known ways, for tests of the agent.

use std::collections::BTreeSet;
use std::fs::{self, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use clap::{Parser, Subcommand};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

/// The size of a write and a read. The kernel rounds the counts of system calls down to multiples
/// of 1,024 (`xacct_add_tsk` in `kernel/tsacct.c`), so small blocks are needed to make many.
const BLOCK: usize = 512;

/// Gives a CPU up once.
const NAP: Duration = Duration::from_millis(1);

/// Makes tasks exit in known ways.
#[derive(Debug, Parser)]
struct Arguments {
    /// Run on this CPU only.
    #[arg(long)]
    cpu: Option<usize>,
    /// Run in the cgroup with this directory.
    #[arg(long)]
    cgroup: Option<PathBuf>,
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Exits with a code.
    Exit { code: u8 },
    /// Prints `ready`, and exits when standard input ends.
    Idle,
    /// Starts additional threads, prints `ready`, and exits when standard input ends: the threads
    /// first.
    Threads { count: usize },
    /// Starts and ends threads that sleep once, one after the other, prints `ready`, and exits when
    /// standard input ends.
    Outlive { count: u32 },
    /// Writes a file to storage in blocks of 512 bytes, reads it back, and removes it.
    Io { bytes: usize, path: PathBuf },
    /// Starts and ends short threads, one after the other, and prints how many.
    ChurnThreads { count: u32 },
    /// Starts and ends short processes, one after the other, and prints how many.
    ChurnProcesses { count: u32 },
    /// Reads ids of process groups from standard input, one a line, `+ID` to add one and `-ID` to
    /// remove it, and kills the groups that are left when standard input ends.
    Guard,
}

fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    if let Some(cpu) = arguments.cpu {
        pin(cpu)?;
    }
    if let Some(cgroup) = arguments.cgroup {
        fs::write(cgroup.join("cgroup.procs"), "0").context("move into the cgroup")?;
    }
    match arguments.what {
        What::Exit { code } => return Ok(ExitCode::from(code)),
        What::Idle => wait_for_end_of_input()?,
        What::Threads { count } => threads(count)?,
        What::Outlive { count } => outlive(count)?,
        What::Io { bytes, path } => write_and_read(bytes, &path)?,
        What::ChurnThreads { count } => churn(count, end_a_thread)?,
        What::ChurnProcesses { count } => churn(count, end_a_process)?,
        What::Guard => guard()?,
    }
    Ok(ExitCode::SUCCESS)
}

fn pin(cpu: usize) -> Result<()> {
    let mut cpus = CpuSet::new();
    cpus.set(cpu)?;
    sched_setaffinity(Pid::this(), &cpus).with_context(|| format!("run on CPU {cpu}"))
}

fn wait_for_end_of_input() -> Result<()> {
    let mut stdout = io::stdout();
    writeln!(stdout, "ready")?;
    stdout.flush()?;
    io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}

fn threads(count: usize) -> Result<()> {
    let (all_run, all_may_end) =
        (Arc::new(Barrier::new(count + 1)), Arc::new(Barrier::new(count + 1)));
    let mut handles = Vec::with_capacity(count);
    for _ in 0..count {
        let (run, may_end) = (Arc::clone(&all_run), Arc::clone(&all_may_end));
        handles.push(thread::spawn(move || {
            run.wait();
            may_end.wait();
        }));
    }
    all_run.wait();
    wait_for_end_of_input()?;
    all_may_end.wait();
    handles.into_iter().try_for_each(join)
}

fn outlive(count: u32) -> Result<()> {
    for _ in 0..count {
        join(thread::spawn(|| thread::sleep(NAP)))?;
    }
    wait_for_end_of_input()
}

fn write_and_read(bytes: usize, path: &Path) -> Result<()> {
    let mut options = OpenOptions::new();
    options.create(true).truncate(true).read(true).write(true);
    let mut file = options.open(path)?;
    let mut block = [1; BLOCK];
    for _ in 0..bytes / BLOCK {
        file.write_all(&block)?;
    }
    file.sync_all()?;
    file.rewind()?;
    for _ in 0..bytes / BLOCK {
        file.read_exact(&mut block)?;
    }
    Ok(fs::remove_file(path)?)
}

fn churn(count: u32, end_a_task: impl Fn() -> Result<()>) -> Result<()> {
    for _ in 0..count {
        end_a_task()?;
    }
    println!("{count}");
    Ok(())
}

fn end_a_thread() -> Result<()> {
    join(thread::spawn(|| ()))
}

fn end_a_process() -> Result<()> {
    let status = Command::new(std::env::current_exe()?).args(["exit", "0"]).status()?;
    ensure!(status.success(), "a process ended with {status}");
    Ok(())
}

fn guard() -> Result<()> {
    let mut groups = BTreeSet::new();
    for line in io::stdin().lines() {
        let line = line?;
        match line.split_at_checked(1) {
            Some(("+", id)) => drop(groups.insert(id.parse()?)),
            Some(("-", id)) => drop(groups.remove(&id.parse()?)),
            _ => bail!("neither `+ID` nor `-ID`: {line:?}"),
        }
    }
    for group in groups {
        // All of the group may have ended by now.
        let _gone = killpg(Pid::from_raw(group), Signal::SIGKILL);
    }
    Ok(())
}

fn join(handle: thread::JoinHandle<()>) -> Result<()> {
    handle.join().map_err(|_| anyhow::anyhow!("a thread panicked"))
}
