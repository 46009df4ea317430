//! `taskstatsd capture`.

use std::io::{self, Write};

use clap::ArgMatches;

use super::{Error, Outcome, raise_fd_limit, start_log};
use crate::agent;
use crate::capture::{self, CaptureTotals, Recorder};
use crate::config::{Args, CaptureArgs};
use crate::signals::EndSignals;

/// Records a capture until its time is over or a signal ends it.
pub(super) fn capture(
    args: &Args,
    capture: CaptureArgs,
    matches: &ArgMatches,
) -> Result<Outcome, Error> {
    CaptureArgs::check_flags(matches)?;
    start_log(args)?;
    raise_fd_limit();
    let plan = capture.plan(args)?;
    let runtime = agent::runtime().map_err(Error::Runtime)?;
    let recorded = runtime.block_on(async {
        let mut signals = EndSignals::install().map_err(Error::Signals)?;
        let recorder = Recorder::prepare(&plan)?;
        // The capture is of use to a user who does not read this.
        let _unwritable = report(&format!("capturing cpus={}", recorder.header().cpus));
        Ok::<_, Error>(capture::record(recorder, async || signals.recv().await).await?)
    });
    // A thread that is blocked in a write does not delay the end.
    runtime.shutdown_background();
    let CaptureTotals { exits, replies, dropped } = recorded?;
    report(&format!("captured exits={exits} replies={replies} lost={dropped}"))
        .map_err(Error::Output)?;
    Ok(Outcome::Complete)
}

/// Writes a line to standard error, because standard output can be the capture.
fn report(text: &str) -> io::Result<()> {
    writeln!(io::stderr(), "taskstatsd: {text}")
}
