//! From errors to statuses, in one place.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use super::failures::Failures;
use crate::advice::HasCause;
use crate::exits::WatchError;
use crate::security::{LimitReached, Resource, Role};
use crate::taskstats::KernelError;

/// The domain of the reasons in `ErrorInfo`.
const DOMAIN: &str = "taskstatsd";
/// When a caller that was turned away may try again: calls are over in milliseconds.
const RETRY_BUSY: Duration = Duration::from_millis(100);
/// A watcher leaves when its collector does, which takes longer; so does a connection.
const RETRY_WATCHERS: Duration = Duration::from_secs(10);
/// A drained agent is usually replaced within seconds.
const RETRY_DRAINING: Duration = Duration::from_secs(2);
static FAILURES: Failures = Failures::new();

/// Why a call ends without its answer.
#[derive(Debug, thiserror::Error)]
pub enum RpcError {
    /// The kernel was asked and did not answer.
    #[error("{}", .0.advised())]
    Kernel(#[from] KernelError),
    /// It is known that exits cannot be watched.
    #[error("{}", .0.advised())]
    ExitsUnavailable(Arc<KernelError>),
    /// A field of the request cannot be used.
    #[error("{field}: {description}")]
    Invalid {
        /// The field's name in the contract.
        field: &'static str,
        /// What is wrong, the offending text, and what would be right.
        description: String,
    },
    /// Too much of something at once.
    #[error("{0}")]
    LimitReached(LimitReached),
    /// Too many calls in a second.
    #[error(
        "{principal} may make {per_second} calls a second, and has made them (--max-call-rate); BatchGet asks for many tasks at once"
    )]
    RateLimited {
        /// Who.
        principal: String,
        /// How many it may make.
        per_second: u32,
        /// When it may make the next.
        wait: Duration,
    },
    /// A request is too long.
    #[error(
        "the request is longer than {limit} bytes, which is the limit (--max-request-size; 4 KiB for health and reflection)"
    )]
    LongRequest {
        /// How long it may be.
        limit: usize,
    },
    /// The request is not a gRPC call.
    #[error("not a gRPC call: {0}; use POST with application/grpc or application/grpc+proto")]
    NotGrpc(String),
    /// A call that has one request message sent another one.
    #[error("a second request message was sent, and the method accepts one")]
    SecondMessage,
    /// Its headers are.
    #[error("the headers are longer than {limit} bytes, which is the limit (--max-header-size)")]
    LongHeaders {
        /// How long they may be.
        limit: usize,
    },
    /// The call took too long.
    #[error("deadline of {0:?} exceeded")]
    DeadlineExceeded(Duration),
    /// A process has more threads than an answer holds.
    #[error(
        "process {tgid} has {threads} threads, and an answer holds the accounts of {limit}; ask without include_threads for the process as a whole, and by BatchGet for threads, whose ids are in /proc/{tgid}/task"
    )]
    ManyThreads {
        /// Of which process.
        tgid: u32,
        /// How many.
        threads: usize,
        /// How many it may have.
        limit: usize,
    },
    /// Nobody knows who calls.
    #[error(
        "{principal} has no identity, and {method} needs role {role}: connect with a client certificate, or through the unix socket, as someone that --allow names"
    )]
    Unauthenticated {
        /// Where it calls from.
        principal: String,
        /// What it called.
        method: &'static str,
        /// What it lacks.
        role: Role,
    },
    /// The caller may not do this.
    #[error("{principal} lacks role {role}, which {method} needs; --allow gives it")]
    Denied {
        /// Who called.
        principal: String,
        /// What it called.
        method: &'static str,
        /// What it lacks.
        role: Role,
    },
    /// A watcher was too slow and asked to be ended then.
    #[error(
        "the watcher was too slow, and exits were forgotten before it took them; resume after the last cursor"
    )]
    Lagged,
    /// The agent is about to end.
    #[error("the agent is draining; connect again in a moment")]
    Draining,
    /// A defect of the agent.
    #[error("{0}")]
    Internal(&'static str),
}

impl From<WatchError> for RpcError {
    fn from(error: WatchError) -> Self {
        match error {
            WatchError::Kernel(error) => Self::Kernel(error),
            WatchError::Future(error) => Self::Invalid {
                field: "resume_after.sequence",
                description: format!("{error}; send a cursor as an earlier message had it"),
            },
            WatchError::Ended => Self::Draining,
        }
    }
}

impl From<RpcError> for Status {
    fn from(error: RpcError) -> Self {
        let message = error.to_string();
        match error {
            RpcError::Kernel(error) => kernel_status(&error, message),
            RpcError::ExitsUnavailable(error) => kernel_status(&error, message),
            RpcError::Invalid { field, description } => {
                let details = ErrorDetails::with_bad_request_violation(field, description);
                Self::with_error_details(Code::InvalidArgument, message, details)
            }
            RpcError::LimitReached(full) => {
                retry(Code::ResourceExhausted, message, retry_after(full.resource))
            }
            RpcError::RateLimited { wait, .. } => retry(Code::ResourceExhausted, message, wait),
            // No RetryInfo: it would be as long the next time.
            RpcError::LongRequest { .. } | RpcError::LongHeaders { .. } => {
                Self::resource_exhausted(message)
            }
            RpcError::NotGrpc(_) => Self::invalid_argument(message),
            // The code that gRPC's list of status codes gives for it.
            RpcError::SecondMessage => Self::unimplemented(message),
            RpcError::DeadlineExceeded(_) => Self::deadline_exceeded(message),
            RpcError::ManyThreads { .. } => {
                info(Code::FailedPrecondition, message, "TOO_MANY_THREADS")
            }
            RpcError::Unauthenticated { .. } => Self::unauthenticated(message),
            RpcError::Denied { .. } => Self::permission_denied(message),
            RpcError::Lagged => retry(Code::ResourceExhausted, message, RETRY_BUSY),
            RpcError::Draining => retry(Code::Unavailable, message, RETRY_DRAINING),
            RpcError::Internal(_) => FAILURES.report(&message, Instant::now()),
        }
    }
}

const fn retry_after(resource: Resource) -> Duration {
    match resource {
        Resource::Connection | Resource::Overflow | Resource::Watcher => RETRY_WATCHERS,
        Resource::Call | Resource::SlowCall | Resource::Stream | Resource::HealthCheck => {
            RETRY_BUSY
        }
    }
}

fn kernel_status(error: &KernelError, message: String) -> Status {
    let precondition = |reason| info(Code::FailedPrecondition, message.clone(), reason);
    match error {
        KernelError::NoSuchTask(_) => info(Code::NotFound, message, "NO_SUCH_TASK"),
        KernelError::NotPermitted { .. } => precondition("NOT_PERMITTED"),
        KernelError::NoFamily => precondition("NO_TASKSTATS"),
        KernelError::WrongNamespace { .. } => precondition("WRONG_NAMESPACE"),
        KernelError::KnownBadKernel { .. } => precondition("KNOWN_BAD_KERNEL"),
        KernelError::NoExitsArrive { .. } => precondition("NO_EXITS_ARRIVE"),
        KernelError::HiddenThreads(_) => precondition("HIDDEN_THREADS"),
        KernelError::NotTested { .. }
        | KernelError::System { .. }
        | KernelError::BadReply { .. } => FAILURES.report(&message, Instant::now()),
    }
}

fn info(code: Code, message: String, reason: &str) -> Status {
    let details = ErrorDetails::with_error_info(reason, DOMAIN, HashMap::new());
    Status::with_error_details(code, message, details)
}

fn retry(code: Code, message: String, after: Duration) -> Status {
    Status::with_error_details(code, message, ErrorDetails::with_retry_info(Some(after)))
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;
    use crate::exits::FutureSequence;
    use crate::taskstats::{Cpumask, KNOWN_BAD_KERNELS, Namespace, TaskId};

    /// Every variant, what it becomes, and which detail it carries.
    #[test]
    fn every_error_has_its_status() {
        let bug = &KNOWN_BAD_KERNELS[0];
        let full =
            |resource| RpcError::LimitReached(LimitReached { resource, limit: 3, own: 1, free: 0 });
        let who = || "uid 7".to_owned();
        let system = || KernelError::System { operation: "x", source: io::Error::other("secret") };
        let invalid = RpcError::Invalid { field: "pid", description: "0 is no pid".to_owned() };
        let table: [(RpcError, Code, &str); 31] = [
            (KernelError::NoSuchTask(TaskId::Pid(7)).into(), Code::NotFound, "NO_SUCH_TASK"),
            (
                KernelError::NotPermitted { operation: "x" }.into(),
                Code::FailedPrecondition,
                "NOT_PERMITTED",
            ),
            (KernelError::NoFamily.into(), Code::FailedPrecondition, "NO_TASKSTATS"),
            (
                KernelError::WrongNamespace { namespace: Namespace::Pid }.into(),
                Code::FailedPrecondition,
                "WRONG_NAMESPACE",
            ),
            (
                KernelError::KnownBadKernel { release: "6".to_owned(), bug }.into(),
                Code::FailedPrecondition,
                "KNOWN_BAD_KERNEL",
            ),
            (
                KernelError::NoExitsArrive { cpus: Cpumask::default() }.into(),
                Code::FailedPrecondition,
                "NO_EXITS_ARRIVE",
            ),
            (KernelError::HiddenThreads(7).into(), Code::FailedPrecondition, "HIDDEN_THREADS"),
            (
                RpcError::ExitsUnavailable(Arc::new(KernelError::NoFamily)),
                Code::FailedPrecondition,
                "NO_TASKSTATS",
            ),
            (system().into(), Code::Internal, ""),
            (KernelError::BadReply { operation: "x" }.into(), Code::Internal, ""),
            (KernelError::NotTested { cause: "secret".to_owned() }.into(), Code::Internal, ""),
            (invalid, Code::InvalidArgument, "field pid"),
            (full(Resource::Connection), Code::ResourceExhausted, "retry"),
            (full(Resource::Watcher), Code::ResourceExhausted, "retry"),
            (full(Resource::Call), Code::ResourceExhausted, "retry"),
            (full(Resource::SlowCall), Code::ResourceExhausted, "retry"),
            (full(Resource::Stream), Code::ResourceExhausted, "retry"),
            (full(Resource::HealthCheck), Code::ResourceExhausted, "retry"),
            (
                RpcError::RateLimited { principal: who(), per_second: 3, wait: RETRY_BUSY },
                Code::ResourceExhausted,
                "retry",
            ),
            (RpcError::NotGrpc("x".to_owned()), Code::InvalidArgument, ""),
            (RpcError::SecondMessage, Code::Unimplemented, ""),
            (RpcError::LongRequest { limit: 3 }, Code::ResourceExhausted, ""),
            (RpcError::LongHeaders { limit: 3 }, Code::ResourceExhausted, ""),
            (RpcError::DeadlineExceeded(RETRY_BUSY), Code::DeadlineExceeded, ""),
            (
                RpcError::ManyThreads { tgid: 7, threads: 4, limit: 3 },
                Code::FailedPrecondition,
                "TOO_MANY_THREADS",
            ),
            (
                RpcError::Unauthenticated { principal: who(), method: "x", role: Role::Node },
                Code::Unauthenticated,
                "",
            ),
            (
                RpcError::Denied { principal: who(), method: "x", role: Role::Node },
                Code::PermissionDenied,
                "",
            ),
            (RpcError::Lagged, Code::ResourceExhausted, "retry"),
            (
                WatchError::from(FutureSequence { sequence: 9, newest: 3 }).into(),
                Code::InvalidArgument,
                "field resume_after.sequence",
            ),
            (WatchError::Ended.into(), Code::Unavailable, "retry"),
            (RpcError::Internal("x"), Code::Internal, ""),
        ];
        for (error, code, detail) in table {
            let text = format!("{error:?}");
            let status = Status::from(error);
            assert_eq!(status.code(), code, "{text}");
            assert_eq!(detail_of(&status), detail, "{text}");
            assert!(!status.message().contains("secret"), "{text}");
        }
    }

    fn detail_of(status: &Status) -> String {
        let details = status.get_error_details();
        if let Some(info) = details.error_info() {
            assert_eq!(info.domain, DOMAIN);
            return info.reason.clone();
        }
        if let Some(violations) = details.bad_request() {
            return format!("field {}", violations.field_violations[0].field);
        }
        details.retry_info().map_or_else(String::new, |_| "retry".to_owned())
    }
}
