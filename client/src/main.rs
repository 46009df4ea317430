//! `taskstatsctl`, the command line of taskstatsd.

use std::process::ExitCode;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    taskstats_client::cli::main().await
}
