//! How a command fails, and how that is told: in one line.

use std::error::Error as StdError;
use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use super::cursor::format_cursor;
use super::render::text::escaped;
use crate::tls::NEEDS_CA;
use crate::{Cursor, Error, Target, TlsFailure};

const START: &str =
    "start it (taskstatsd, or systemctl start taskstatsd), or name another with --target";
const STREAM_ENDED: &str = "the agent ended the stream";
/// What HTTP/2 says of the first bytes of TLS.
const NO_FRAME: &str = "frame with invalid size";
const MAYBE_TLS: &str = "if the agent speaks TLS there, use tls:// and --ca";
const NAME_A_CA: &str =
    "name the file of the one that signed the agent's certificate with --ca or TASKSTATS_CA";
const NOT_ALLOWED: &str = "this user may not open the socket";

/// What an agent asks for is told no finer than this.
const NANOS_A_MILLISECOND: u32 = 1_000_000;

/// What a shell sees of arguments that are wrong, as clap has it.
const USAGE: u8 = 2;
/// What a shell sees when the agent does not know the caller, or does not let it.
const NOT_LET: u8 = 3;
/// What a shell sees when the agent has no room for the call now.
const BUSY: u8 = 4;

/// Why a command did not do what it was asked for.
#[derive(Debug)]
pub(crate) enum CommandError {
    /// A call failed.
    Call(Error),
    /// A stream ended, with an error or without one.
    Watch { error: Option<Error>, cursor: Option<Cursor> },
    /// The answer was printed, or told, and is not a good one: some ids have no account, or the
    /// service does not serve.
    Refused,
    /// Standard output does not take what is written, or a signal cannot be awaited.
    Io(io::Error),
}

impl CommandError {
    pub(crate) fn is_broken_pipe(&self) -> bool {
        matches!(self, Self::Io(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }

    /// How the process ends.
    pub(crate) fn exit_code(&self) -> ExitCode {
        let error = match self {
            Self::Call(error) | Self::Watch { error: Some(error), .. } => error,
            Self::Watch { error: None, .. } | Self::Refused | Self::Io(_) => {
                return ExitCode::FAILURE;
            }
        };
        match error {
            Error::Unauthenticated { .. } | Error::PermissionDenied { .. } => {
                ExitCode::from(NOT_LET)
            }
            Error::ResourceExhausted { .. } => ExitCode::from(BUSY),
            Error::Tls { .. } | Error::InvalidArgument { .. } => ExitCode::from(USAGE),
            _ if is_refused_by_tls(error) => ExitCode::from(NOT_LET),
            _ => ExitCode::FAILURE,
        }
    }

    /// One sentence for a person; `None` when everything was said before.
    pub(crate) fn message(&self) -> Option<String> {
        match self {
            Self::Call(error) => Some(message(error)),
            Self::Watch { error, cursor } => {
                let what = error.as_ref().map_or_else(|| STREAM_ENDED.to_owned(), message);
                Some(what + &place(cursor.as_ref()))
            }
            Self::Refused => None,
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

/// Whether the agent does not let this side in for want of a certificate that it takes.
fn is_refused_by_tls(error: &Error) -> bool {
    matches!(error.tls_failure(), Some(TlsFailure::CertificateWanted | TlsFailure::RefusedByAgent))
}

/// Writes a line to standard error. Nobody can be told when that fails.
pub(crate) fn print_error(sentence: &str) {
    let _ = writeln!(io::stderr(), "taskstatsctl: {}", escaped(sentence));
}

/// Why a stream ended, or none begins. With advice only where waiting alone may not help: of
/// certificates.
pub(crate) fn reason(error: Option<&Error>) -> String {
    let say = |error: &Error| match error.tls_failure() {
        Some(_) => message(error),
        None => what(error),
    };
    error.map_or_else(|| STREAM_ENDED.to_owned(), say)
}

/// What happened and, where it is known, what to do.
pub(crate) fn message(error: &Error) -> String {
    let what = what(error);
    match advice(error, &what) {
        Some(advice) => format!("{what}; {advice}"),
        None => what,
    }
}

fn what(error: &Error) -> String {
    match error.root_cause() {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}

/// Rounded up, because who comes back too early is sent away again.
fn to_milliseconds(wait: Duration) -> Duration {
    let part = Duration::from_nanos(u64::from(wait.subsec_nanos() % NANOS_A_MILLISECOND));
    if part.is_zero() { wait } else { wait - part + Duration::from_millis(1) }
}

fn advice(error: &Error, what: &str) -> Option<String> {
    if let Some(failure) = error.tls_failure() {
        return Some(tls_advice(&failure).to_owned());
    }
    match error {
        Error::Unreachable { source, .. } if is_denied(source.as_ref()) => {
            Some(NOT_ALLOWED.to_owned())
        }
        Error::Unreachable { .. } => Some(START.to_owned()),
        Error::Tls { problem } if problem.ends_with(NEEDS_CA) => Some(NAME_A_CA.to_owned()),
        Error::Disconnected { target: Target::Tcp { .. }, .. } if what.ends_with(NO_FRAME) => {
            Some(MAYBE_TLS.to_owned())
        }
        Error::InvalidArgument { field, description, .. } => {
            let unsaid = !description.is_empty() && !what.contains(description.as_str());
            unsaid.then(|| format!("{field}: {description}"))
        }
        Error::ResourceExhausted { retry_after: Some(wait), .. }
        | Error::Unavailable { retry_after: Some(wait), .. } => {
            Some(format!("it asks to come back in {:?}", to_milliseconds(*wait)))
        }
        _ => None,
    }
}

/// Which side refuses, and what would be right.
fn tls_advice(failure: &TlsFailure) -> &'static str {
    match failure {
        TlsFailure::UnknownAuthority => {
            "its certificate is of no CA in --ca; name the CA that signed it"
        }
        TlsFailure::WrongName => {
            "its certificate has other names; name one of them with --server-name"
        }
        TlsFailure::NotValidNow => "its certificate is to be renewed, or a clock to be set",
        TlsFailure::NoServerCertificate => {
            "its certificate is not one to trust for a server: it is a CA's own (CA:TRUE), or of X.509 version 1 \
             (no extensions), or has another extendedKeyUsage; the agent needs one that a CA has signed \
             with a subjectAltName and basicConstraints=CA:FALSE"
        }
        TlsFailure::CertificateRefused => "its certificate is not one to trust",
        TlsFailure::CertificateWanted => {
            "the agent wants a certificate; show one with --cert and --key"
        }
        TlsFailure::RefusedByAgent => {
            "the agent refuses the certificate of --cert; its log says why"
        }
        TlsFailure::NoCommonVersion => {
            "the agent speaks no version of TLS that this client does; see its --tls-min-version"
        }
        TlsFailure::NoTls => "what answers there speaks no TLS; use tcp:// for a plaintext port",
    }
}

fn is_denied(error: &(dyn StdError + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        let kind = error.downcast_ref::<io::Error>().map(io::Error::kind);
        if kind == Some(io::ErrorKind::PermissionDenied) {
            return true;
        }
        cause = error.source();
    }
    false
}

fn place(cursor: Option<&Cursor>) -> String {
    match cursor {
        Some(cursor) => format!("; continue with --after {}", format_cursor(cursor)),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_can_tell_why_a_call_failed() {
        let message = || "said".to_owned();
        let retry_after = None;
        for (error, code) in [
            (Error::Unauthenticated { message: message() }, NOT_LET),
            (Error::PermissionDenied { message: message() }, NOT_LET),
            (Error::ResourceExhausted { message: message(), retry_after }, BUSY),
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
        assert_eq!(CommandError::Refused.exit_code(), ExitCode::FAILURE);
    }

    fn unreachable(kind: io::ErrorKind) -> Error {
        let target = "/run/a.sock".parse().unwrap();
        Error::Unreachable { target, source: Box::new(io::Error::from(kind)) }
    }

    #[test]
    fn an_unreachable_agent_is_to_be_started() {
        assert_eq!(
            message(&unreachable(io::ErrorKind::NotFound)),
            "cannot reach taskstatsd at unix:///run/a.sock: entity not found; \
             start it (taskstatsd, or systemctl start taskstatsd), or name another with --target"
        );
    }

    #[test]
    fn a_closed_socket_is_not_a_missing_agent() {
        let said = message(&unreachable(io::ErrorKind::PermissionDenied));
        assert!(said.ends_with("permission denied; this user may not open the socket"), "{said}");
    }

    #[test]
    fn what_the_agent_says_of_a_field_is_said_once() {
        let error = |message: &str| Error::InvalidArgument {
            field: "cpumask".to_owned(),
            description: "\"x\" is no list".to_owned(),
            message: message.to_owned(),
        };
        assert_eq!(message(&error("cpumask: \"x\" is no list")), "cpumask: \"x\" is no list");
        assert_eq!(message(&error("bad mask")), "bad mask; cpumask: \"x\" is no list");
    }

    #[test]
    fn a_wait_is_told() {
        let error = Error::Unavailable {
            message: "draining".to_owned(),
            retry_after: Some(Duration::from_nanos(485_068_899)),
        };
        assert_eq!(message(&error), "draining; it asks to come back in 486ms");
        assert_eq!(to_milliseconds(Duration::from_secs(3)), Duration::from_secs(3));
    }

    #[test]
    fn a_stream_that_ended_says_where() {
        let cursor = Cursor { instance_id: "run1".to_owned(), sequence: 7 };
        let failure = CommandError::Watch { error: None, cursor: Some(cursor) };
        assert_eq!(
            failure.message().unwrap(),
            "the agent ended the stream; continue with --after run1:7"
        );
    }
}
