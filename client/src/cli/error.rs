//! Failures of commands, and their exit codes.

use std::io::{self, Write};
use std::process::ExitCode;

use super::advice::{message, stream_end};
use super::cursor::format_cursor;
use super::render::text::escaped;
use crate::{Cursor, Error, TlsFailure};

/// Exit code for invalid arguments, the same as clap's.
const USAGE: u8 = 2;
/// Exit code for a caller that is not authenticated or not permitted.
const DENIED: u8 = 3;
/// Exit code for an agent that is overloaded.
const OVERLOADED: u8 = 4;

/// A failure of a command.
#[derive(Debug)]
pub(crate) enum CommandError {
    /// The arguments contradict each other.
    Usage(String),
    /// A call failed.
    Call(Error),
    /// A stream ended, with an error or without one.
    Stream { error: Option<Error>, cursor: Option<Cursor> },
    /// The command printed its result, which is not a success: some ids have no statistics, or a
    /// service does not serve.
    Unsuccessful,
    /// Standard output or a file cannot be written, or a signal handler not installed.
    Io(io::Error),
}

impl CommandError {
    pub(crate) fn is_broken_pipe(&self) -> bool {
        matches!(self, Self::Io(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }

    /// Returns the exit code of the process.
    pub(crate) fn exit_code(&self) -> ExitCode {
        let error = match self {
            Self::Usage(_) => return ExitCode::from(USAGE),
            Self::Call(error) | Self::Stream { error: Some(error), .. } => error,
            Self::Stream { error: None, .. } | Self::Unsuccessful | Self::Io(_) => {
                return ExitCode::FAILURE;
            }
        };
        match error {
            Error::Unauthenticated { .. } | Error::PermissionDenied { .. } => {
                ExitCode::from(DENIED)
            }
            Error::ResourceExhausted { .. } => ExitCode::from(OVERLOADED),
            Error::Tls { .. } | Error::InvalidArgument { .. } => ExitCode::from(USAGE),
            _ if is_refused_certificate(error) => ExitCode::from(DENIED),
            _ => ExitCode::FAILURE,
        }
    }

    /// Returns one sentence for a person; `None` when the command has printed all there is to say.
    pub(crate) fn message(&self) -> Option<String> {
        match self {
            Self::Usage(problem) => Some(problem.clone()),
            Self::Call(error) => Some(message(error)),
            Self::Stream { error, cursor } => {
                let what = error.as_ref().map_or_else(|| stream_end(None), message);
                let next = cursor.as_ref().map(|cursor| format!("; {}", continuation(cursor)));
                Some(what + &next.unwrap_or_default())
            }
            Self::Unsuccessful => None,
            Self::Io(error) => Some(error.to_string()),
        }
    }
}

impl From<Error> for CommandError {
    fn from(error: Error) -> Self {
        Self::Call(error)
    }
}

impl From<io::Error> for CommandError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Returns how to continue a watch from a cursor.
pub(crate) fn continuation(cursor: &Cursor) -> String {
    format!("continue with --after {}", format_cursor(cursor))
}

/// Writes a line to standard error. A failure to write it is ignored: there is no third stream.
pub(crate) fn print_error(message: &str) {
    let _ = writeln!(io::stderr(), "taskstatsctl: {}", escaped(message));
}

/// Returns true when the agent refused the connection for want of an accepted certificate.
fn is_refused_certificate(error: &Error) -> bool {
    matches!(
        error.tls_failure(),
        Some(TlsFailure::CertificateRequired | TlsFailure::RefusedByAgent)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exit_code_says_why_a_call_failed() {
        let message = || "reason".to_owned();
        let retry_after = None;
        for (error, code) in [
            (Error::Unauthenticated { message: message() }, DENIED),
            (Error::PermissionDenied { message: message() }, DENIED),
            (Error::ResourceExhausted { message: message(), retry_after }, OVERLOADED),
            (Error::Unavailable { message: message(), retry_after }, 1),
            (Error::NoSuchTask { message: message() }, 1),
            (
                Error::InvalidArgument {
                    field: "pid".to_owned(),
                    description: message(),
                    message: message(),
                },
                USAGE,
            ),
        ] {
            let text = format!("{error:?}");
            assert_eq!(CommandError::Call(error).exit_code(), ExitCode::from(code), "{text}");
        }
        assert_eq!(CommandError::Unsuccessful.exit_code(), ExitCode::FAILURE);
        assert_eq!(CommandError::Usage(message()).exit_code(), ExitCode::from(USAGE));
    }

    #[test]
    fn a_stream_that_ended_names_its_cursor() {
        let cursor = Cursor { instance_id: "run1".to_owned(), sequence: 7 };
        let error = CommandError::Stream { error: None, cursor: Some(cursor) };
        assert_eq!(
            error.message().unwrap(),
            "the agent ended the stream; continue with --after run1:7"
        );
    }
}
