//! Tries the agent on whichever kernel runs: everything is compared with an independent reading of the
//! same bytes, and what the kernel's version lacks must be absent.
//!
//! As process 1 of a virtual machine that has nothing else, it mounts what it needs, sends its report
//! through the second serial port, and ends the machine; `tests/kernels` starts that. Elsewhere it
//! writes the report to standard output.

mod captures;
mod doctor;
mod exercise;
mod exits;
mod live;
mod machine;
mod report;

use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Parser;

/// The process id of a machine's first program.
const INIT: u32 = 1;

/// Tries the agent on the running kernel.
#[derive(Debug, Parser)]
struct Arguments {
    /// Folder to work in, on storage rather than in memory.
    folder: PathBuf,
}

fn main() -> Result<()> {
    if std::process::id() == INIT {
        return machine::run(exercise_here);
    }
    let folder = Arguments::parse().folder;
    exercise_here(&folder)?.write(&mut io::stdout())
}

fn exercise_here(folder: &Path) -> Result<report::Report> {
    let runtime = tokio::runtime::Runtime::new().context("start the runtime")?;
    runtime.block_on(exercise::exercise(folder))
}
