//! `taskstatsctl`: the command line of taskstatsd.

use std::process::ExitCode;

use clap::Parser;
use taskstats_client::cli::{self, Args};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    cli::main(Args::parse()).await
}
