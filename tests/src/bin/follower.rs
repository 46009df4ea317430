//! Watches all exits and appends them to a log, one by one. When it is started again it resumes
//! after the last exit in the log. Tests kill it and stop it.

use std::io::{self, Write};
use std::path::PathBuf;

use anyhow::{Result, ensure};
use clap::Parser;
use taskstats_tests::client::connect;
use taskstats_tests::exit_log::ExitLog;
use taskstats_tests::follower::{Detached, Follower};
use taskstats_tests::selection::Selection;
use tokio::io::{AsyncBufReadExt, BufReader, stdin};

/// Exits between two lines of standard output.
const REPORT: u64 = 1000;

/// Watches everything and writes it down.
#[derive(Debug, Parser)]
struct Arguments {
    /// The agent.
    url: String,
    /// The path of the log.
    exit_log: PathBuf,
}

/// Prints `ready` when it watches, and a line for each thousand exits. Ends after the exit whose
/// number standard input brings.
#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let mut exit_log = ExitLog::open(&arguments.exit_log)?;
    let mut follower = open(&arguments.url, &mut exit_log).await?;
    say("ready")?;
    let mut orders = BufReader::new(stdin()).lines();
    let mut last = None;
    let mut written = 0;
    while last.is_none_or(|last| follower.stitched().position() < last) {
        tokio::select! {
            order = orders.next_line(), if last.is_none() => match order? {
                Some(order) => last = Some(order.parse::<u64>()?),
                None => return Ok(()),
            },
            more = follower.next() => {
                ensure!(more?, "the agent ended the stream");
                let before = written;
                written += write(&mut exit_log, &mut follower)?;
                for _ in before / REPORT..written / REPORT {
                    say("more")?;
                }
            }
        }
    }
    Ok(())
}

async fn open(url: &str, exit_log: &mut ExitLog) -> Result<Follower> {
    let channel = connect(url).await?;
    let selection = Selection::EVERYTHING;
    if let Some(stitched) = exit_log.stitched() {
        let mut stitched = stitched.clone();
        stitched.forget(u64::MAX);
        return Detached { selection, stitched }.resume(&channel).await;
    }
    let follower = Follower::open(&channel, selection).await?;
    exit_log.begin(follower.stitched().cursor())?;
    Ok(follower)
}

/// Writes the last message, and returns how many exits it brought.
fn write(exit_log: &mut ExitLog, follower: &mut Follower) -> Result<u64> {
    let stitched = follower.stitched_mut();
    for gap in stitched.gaps() {
        exit_log.gap(gap)?;
    }
    for exit in stitched.exits() {
        exit_log.exit(exit)?;
    }
    let written = u64::try_from(stitched.exits().len())?;
    stitched.forget(u64::MAX);
    Ok(written)
}

fn say(line: &str) -> io::Result<()> {
    let mut stdout = io::stdout();
    writeln!(stdout, "{line}")?;
    stdout.flush()
}
