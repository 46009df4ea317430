//! The child process's side of the protocol between it and the suite.
//!
//! The process writes [`READY`] once it counts, and a line of JSON when its input ends, which also
//! happens when the suite has ended. A thread that sleeps in `read` costs nothing meanwhile; a time
//! limit on the waits of the counting thread would show as wake-ups.

use std::io::{self, Read, Write};
use std::process;
use std::sync::Arc;
use std::thread;

use anyhow::{Context, Result};

use crate::tally::Tally;

/// The line after which every exit is counted.
pub(crate) const READY: &str = "ready";

/// Reports that counting has begun; when the input ends, calls `leave`, reports, and ends the
/// process.
pub(crate) fn count_until_reported(
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
