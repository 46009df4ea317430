//! The errors of calls, and their gRPC statuses.

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
/// The retry delay after a limit of calls was reached. Calls last milliseconds.
const RETRY_BUSY: Duration = Duration::from_millis(100);
/// The retry delay after a limit of watchers or connections was reached, which last longer.
const RETRY_WATCHERS: Duration = Duration::from_secs(10);
/// The retry delay while the agent drains. It is usually replaced within seconds.
const RETRY_DRAINING: Duration = Duration::from_secs(2);
static FAILURES: Failures = Failures::new();

/// The error that ends a call.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RpcError {
    /// A query of the kernel failed.
    #[error("{}", .0.advised())]
    Kernel(#[from] KernelError),
    /// Exits cannot be watched, which a self-test has shown.
    #[error("{}", .0.advised())]
    ExitsUnavailable(Arc<KernelError>),
    /// A field of the request is invalid.
    #[error("{field}: {description}")]
    Invalid {
        /// The name of the field in the proto file.
        field: &'static str,
        /// The problem, the offending text, and a valid alternative.
        description: String,
    },
    /// A limit of connections, streams or calls is reached.
    #[error("{0}")]
    LimitReached(LimitReached),
    /// The principal has made too many calls in a second.
    #[error(
        "{principal} may make {per_second} calls a second, and has made them (--max-call-rate); BatchGet asks for many tasks at once"
    )]
    RateLimited {
        /// The principal.
        principal: String,
        /// The limit.
        per_second: u32,
        /// The time until the next call is accepted.
        wait: Duration,
    },
    /// The request message is too long.
    #[error(
        "the request is longer than {limit} bytes, which is the limit (--max-request-size; 4 KiB for health and reflection)"
    )]
    LongRequest {
        /// The limit in bytes.
        limit: usize,
    },
    /// The request is not a gRPC call.
    #[error("not a gRPC call: {0}; use POST with application/grpc or application/grpc+proto")]
    NotGrpc(String),
    /// A second request message was sent in a call that accepts one.
    #[error("a second request message was sent, and the method accepts one")]
    SecondMessage,
    /// The header list is too long.
    #[error("the headers are longer than {limit} bytes, which is the limit (--max-header-size)")]
    LongHeaders {
        /// The limit in bytes.
        limit: usize,
    },
    /// The call exceeded its deadline.
    #[error("deadline of {0:?} exceeded")]
    DeadlineExceeded(Duration),
    /// A process has more threads than a response holds.
    #[error(
        "process {tgid} has {threads} threads, and a response holds {limit}; call without include_threads for the process as a whole, or BatchGet for the threads, whose ids are in /proc/{tgid}/task"
    )]
    ManyThreads {
        /// The thread group.
        tgid: u32,
        /// The number of its threads.
        threads: usize,
        /// The limit.
        limit: usize,
    },
    /// The caller has no identity.
    #[error(
        "{principal} has no identity, and {method} needs role {role}: connect with a client certificate, or through the unix socket, as someone that --allow names"
    )]
    Unauthenticated {
        /// The address of the caller.
        principal: String,
        /// The method.
        method: &'static str,
        /// The role that the method needs.
        role: Role,
    },
    /// The caller lacks a role.
    #[error("{principal} lacks role {role}, which {method} needs; --allow gives it")]
    Denied {
        /// The caller.
        principal: String,
        /// The method.
        method: &'static str,
        /// The role that the method needs.
        role: Role,
    },
    /// A watcher was overtaken, and had requested that its stream ends then.
    #[error(
        "the watcher was overtaken: exits left the history before it received them; resume after the last cursor"
    )]
    Lagged,
    /// The agent is draining.
    #[error("the agent is draining; connect again in some seconds")]
    Draining,
    /// A defect of the agent itself.
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
            // Without RetryInfo, because the next attempt would be as long.
            RpcError::LongRequest { .. } | RpcError::LongHeaders { .. } => {
                Self::resource_exhausted(message)
            }
            RpcError::NotGrpc(_) => Self::invalid_argument(message),
            // The code for this case in gRPC's list of status codes.
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
        Resource::Connection
        | Resource::ConnectionWithoutRole
        | Resource::Overflow
        | Resource::Watcher => RETRY_WATCHERS,
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

    /// Each variant, its code, and its detail.
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
