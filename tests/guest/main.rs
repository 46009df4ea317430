//! Tests the agent on the running kernel: everything is compared with an independent decoder of the
//! same bytes, and fields that the kernel's version lacks must be absent.
//!
//! As process 1 of a virtual machine it mounts file systems, sets the machine's clock while the
//! agent runs, sends its report through the second serial port, and powers off; `tests/kernels`
//! starts that. Otherwise it writes the report to standard output.

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
    /// Working directory, on storage rather than in memory.
    directory: PathBuf,
}

fn main() -> Result<()> {
    if std::process::id() == INIT {
        return machine::run(|directory| {
            let report = exercise_here(directory)?;
            // The machine has nothing else that needs the clock.
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
