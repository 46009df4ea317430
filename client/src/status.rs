//! The conversion of a gRPC status to an [`Error`].

use std::error::Error as StdError;
use std::time::Duration;

use tonic::{Code, ConnectError, Status, TimeoutExpired};
use tonic_types::StatusExt;

use crate::error::Error;
use crate::target::Target;

/// Facts of a call that its errors name.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Call<'a> {
    pub(crate) target: &'a Target,
    pub(crate) deadline: Duration,
}

impl Call<'_> {
    /// Converts the status of a call.
    ///
    /// A status that the connection produced has a source; a status that the agent sent has none.
    pub(crate) fn error(self, status: Status) -> Error {
        let Some(source) = status.source() else { return self.sent(&status) };
        if has_cause::<TimeoutExpired>(source) {
            return Error::DeadlineExceeded { deadline: self.deadline };
        }
        let target = self.target.clone();
        if has_cause::<ConnectError>(source) {
            return Error::Unreachable { target, source: Box::new(status) };
        }
        Error::Disconnected { target, source: Box::new(status) }
    }

    fn sent(self, status: &Status) -> Error {
        let message = message(status.code(), status.message());
        match status.code() {
            Code::InvalidArgument => invalid_argument(status, message),
            Code::FailedPrecondition => {
                Error::FailedPrecondition { reason: reason(status), message }
            }
            Code::ResourceExhausted => {
                Error::ResourceExhausted { message, retry_after: retry_after(status) }
            }
            Code::Unavailable => Error::Unavailable { message, retry_after: retry_after(status) },
            Code::DeadlineExceeded => Error::DeadlineExceeded { deadline: self.deadline },
            code => without_details(code, message),
        }
    }
}

/// Returns the error of one id of a batch, which has no details.
pub(crate) fn of_entry(code: i32, message: &str) -> Error {
    let code = Code::from_i32(code);
    without_details(code, self::message(code, message))
}

/// Returns the error of a status that has no details.
fn without_details(code: Code, message: String) -> Error {
    match code {
        Code::NotFound => Error::NoSuchTask { message },
        Code::InvalidArgument => {
            Error::InvalidArgument { field: String::new(), description: String::new(), message }
        }
        Code::FailedPrecondition => Error::FailedPrecondition { reason: String::new(), message },
        Code::Unauthenticated => Error::Unauthenticated { message },
        Code::PermissionDenied => Error::PermissionDenied { message },
        Code::ResourceExhausted => Error::ResourceExhausted { message, retry_after: None },
        Code::Unavailable => Error::Unavailable { message, retry_after: None },
        Code::Unimplemented => Error::Unimplemented { message },
        Code::Internal => Error::Internal { message },
        Code::Ok
        | Code::Cancelled
        | Code::Unknown
        | Code::DeadlineExceeded
        | Code::AlreadyExists
        | Code::Aborted
        | Code::OutOfRange
        | Code::DataLoss => Error::Unexpected { code, message },
    }
}

/// Returns the message, or the meaning of the code where the message is empty.
fn message(code: Code, message: &str) -> String {
    if message.is_empty() { code.description() } else { message }.to_owned()
}

fn invalid_argument(status: &Status, message: String) -> Error {
    let violation = status
        .get_details_bad_request()
        .and_then(|details| details.field_violations.into_iter().next());
    let (field, description) = match violation {
        Some(violation) => (violation.field, violation.description),
        None => (String::new(), String::new()),
    };
    Error::InvalidArgument { field, description, message }
}

fn reason(status: &Status) -> String {
    status.get_details_error_info().map(|info| info.reason).unwrap_or_default()
}

fn retry_after(status: &Status) -> Option<Duration> {
    status.get_details_retry_info()?.retry_delay
}

fn has_cause<T: StdError + 'static>(error: &(dyn StdError + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if error.is::<T>() {
            return true;
        }
        cause = error.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use tonic_types::ErrorDetails;

    use super::*;

    const WAIT: Duration = Duration::from_secs(3);

    fn target() -> Target {
        Target::Unix { path: "/run/a.sock".into() }
    }

    fn error_of(status: Status) -> Error {
        Call { target: &target(), deadline: WAIT }.error(status)
    }

    fn with(code: Code, details: ErrorDetails) -> Status {
        Status::with_error_details(code, "said", details)
    }

    /// One row for each variant that a status converts to: a new variant breaks `name`.
    #[test]
    fn every_status_has_its_error() {
        let mut bad_field = ErrorDetails::new();
        bad_field.add_bad_request_violation("cpumask", "\"x\" is not a list");
        let reason = ErrorDetails::with_error_info(
            "NO_PERMISSION",
            "taskstatsd",
            std::collections::HashMap::new(),
        );
        let retry = ErrorDetails::with_retry_info(Some(WAIT));
        let table = [
            (with(Code::NotFound, ErrorDetails::new()), "NoSuchTask said"),
            (
                with(Code::InvalidArgument, bad_field),
                "InvalidArgument cpumask \"x\" is not a list said",
            ),
            (with(Code::FailedPrecondition, reason), "FailedPrecondition NO_PERMISSION said"),
            (Status::unauthenticated("said"), "Unauthenticated said"),
            (Status::permission_denied("said"), "PermissionDenied said"),
            (with(Code::ResourceExhausted, retry.clone()), "ResourceExhausted Some(3s) said"),
            (with(Code::Unavailable, retry), "Unavailable Some(3s) said"),
            (Status::unavailable("said"), "Unavailable None said"),
            (Status::deadline_exceeded("said"), "DeadlineExceeded 3s"),
            (Status::unimplemented("said"), "Unimplemented said"),
            (Status::internal("said"), "Internal said"),
            (Status::data_loss("said"), "Unexpected DataLoss said"),
            (Status::from_error(Box::new(ConnectError("refused".into()))), "Unreachable refused"),
            (Status::from_error(Box::new(TimeoutExpired(()))), "DeadlineExceeded 3s"),
            (Status::from_error("reset".into()), "Disconnected reset"),
        ];
        for (status, expected) in table {
            assert_eq!(name(&error_of(status)), expected);
        }
    }

    fn name(error: &Error) -> String {
        match error {
            Error::InvalidTarget(target) => format!("InvalidTarget {target}"),
            Error::Tls { problem } => format!("Tls {problem}"),
            Error::Unreachable { .. } => format!("Unreachable {}", error.root_cause().unwrap()),
            Error::Disconnected { .. } => format!("Disconnected {}", error.root_cause().unwrap()),
            Error::DeadlineExceeded { deadline } => format!("DeadlineExceeded {deadline:?}"),
            Error::NoSuchTask { message } => format!("NoSuchTask {message}"),
            Error::NoSuchService { service } => format!("NoSuchService {service}"),
            Error::InvalidArgument { field, description, message } => {
                format!("InvalidArgument {field} {description} {message}")
            }
            Error::FailedPrecondition { reason, message } => {
                format!("FailedPrecondition {reason} {message}")
            }
            Error::Unauthenticated { message } => format!("Unauthenticated {message}"),
            Error::PermissionDenied { message } => format!("PermissionDenied {message}"),
            Error::ResourceExhausted { message, retry_after } => {
                format!("ResourceExhausted {retry_after:?} {message}")
            }
            Error::Unavailable { message, retry_after } => {
                format!("Unavailable {retry_after:?} {message}")
            }
            Error::Unimplemented { message } => format!("Unimplemented {message}"),
            Error::Internal { message } => format!("Internal {message}"),
            Error::Incomplete { field } => format!("Incomplete {field}"),
            Error::Unexpected { code, message } => format!("Unexpected {code:?} {message}"),
        }
    }

    #[test]
    fn an_empty_message_is_replaced_by_the_meaning_of_the_code() {
        let error = error_of(Status::new(Code::PermissionDenied, ""));
        assert_eq!(error.to_string(), Code::PermissionDenied.description());
    }

    #[test]
    fn an_entry_of_a_batch_has_the_error_of_its_code() {
        assert_eq!(name(&of_entry(5, "gone")), "NoSuchTask gone");
        assert_eq!(name(&of_entry(3, "pid is 0")), "InvalidArgument   pid is 0");
        assert_eq!(name(&of_entry(99, "odd")), "Unexpected Unknown odd");
    }
}
