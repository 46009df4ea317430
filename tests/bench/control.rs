//! A process's side of what it and the suite say to each other.
//!
//! The process writes [`READY`] once it counts, and a line of JSON when its input ends, which is
//! also how it learns that the suite is gone. A thread that sleeps in `read` costs nothing
//! meanwhile, where a time limit on the counting thread's own waits would show as wake-ups.

use std::io::{self, Read, Write};
use std::process;
use std::sync::Arc;
use std::thread;

use anyhow::{Context, Result};

use crate::tally::Tally;

/// The line that says that whatever exits from now on is counted.
pub(crate) const READY: &str = "ready";

/// Says that counting has begun; once the input ends, calls `leave`, reports and ends the process.
pub(crate) fn count_until_told(
    tally: Arc<Tally>,
    leave: impl FnOnce() -> Result<()> + Send + 'static,
) -> Result<()> {
    say(READY)?;
    let waiter = move || {
        let end = await_end()
            .and_then(|()| leave())
            .and_then(|()| say(&serde_json::to_string(&tally.count())?));
        if let Err(error) = &end {
            eprintln!("taskstats-bench: {error:#}");
        }
        process::exit(i32::from(end.is_err()));
    };
    thread::Builder::new().name("control".to_owned()).spawn(waiter).context("start a thread")?;
    Ok(())
}

/// Writes one line to the suite.
pub(crate) fn say(line: &str) -> Result<()> {
    let mut out = io::stdout();
    writeln!(out, "{line}").and_then(|()| out.flush()).context("write to the suite")
}

/// Waits until the input ends.
pub(crate) fn await_end() -> Result<()> {
    io::stdin().read_to_end(&mut Vec::new()).context("read the standard input")?;
    Ok(())
}
