//! Tries the agent on whichever kernel runs: everything is compared with an independent reading of the
//! same bytes, and what the kernel's version lacks must be absent.
//!
//! As process 1 of a virtual machine that has nothing else, it mounts what it needs, sets the machine's
//! clock under the agent as well, sends its report through the second serial port, and ends the machine;
//! `tests/kernels` starts that. Elsewhere it writes the report to standard output.

mod captures;
mod certificates;
mod clock;
mod covered;
mod doctor;
mod exercise;
mod exits;
mod live;
mod machine;
mod report;
mod steps;

use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Parser;
use tokio::runtime::Runtime;

/// The process id of a machine's first program.
const INIT: u32 = 1;

/// Tries the agent on the running kernel.
#[derive(Debug, Parser)]
struct Arguments {
    /// Folder to work in, on storage rather than in memory.
    directory: PathBuf,
}

fn main() -> Result<()> {
    if std::process::id() == INIT {
        return machine::run(|directory| {
            let report = exercise_here(directory)?;
            // Nobody else goes by this machine's clock.
            let clock =
                runtime()?.block_on(steps::set_the_clock()).context("a clock that is set")?;
            Ok(report::Report { clock: Some(clock), ..report })
        });
    }
    let directory = Arguments::parse().directory;
    exercise_here(&directory)?.write(&mut io::stdout())
}

fn exercise_here(directory: &Path) -> Result<report::Report> {
    runtime()?.block_on(exercise::exercise(directory))
}

fn runtime() -> Result<Runtime> {
    Runtime::new().context("start the runtime")
}
