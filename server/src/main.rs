//! The taskstatsd program.

use std::process::ExitCode;

use taskstatsd::program;

fn main() -> ExitCode {
    match program::run(std::env::args_os()) {
        Ok(outcome) => outcome.into(),
        Err(error) => error.into(),
    }
}
