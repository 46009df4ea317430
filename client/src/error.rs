//! What a call can end with.

use std::time::Duration;

use tonic::Code;

use crate::target::{InvalidTarget, Target};
use crate::tls_failure::TlsFailure;

/// Why a call failed.
///
/// Texts called `message` are the agent's own sentence. They can quote what a caller sent, so
/// they are to be escaped before they reach a terminal.
///
/// ```no_run
/// use taskstats_client::{Client, Error};
///
/// # async fn example(client: Client) -> Result<(), Error> {
/// match client.pid(4711).await {
///     Ok(stats) => println!("{:?}", stats.elapsed_us),
///     Err(Error::NoSuchTask { .. }) => println!("it is gone"),
///     Err(error) => return Err(error),
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The text names no agent.
    #[error(transparent)]
    InvalidTarget(#[from] InvalidTarget),
    /// The certificates that were given cannot be used.
    #[error("no TLS: {problem}")]
    Tls {
        /// What is wrong with them, and what would be right.
        problem: String,
    },
    /// Nobody answers at the target: the agent is not running there, or its socket is closed to
    /// this user, or one side refuses the certificate of the other.
    #[error("cannot reach taskstatsd at {target}")]
    Unreachable {
        /// What was tried.
        target: Target,
        /// Why it failed.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The connection broke during the call.
    #[error("the connection to taskstatsd at {target} broke")]
    Disconnected {
        /// The agent that was connected.
        target: Target,
        /// What broke it.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// There was no answer in time.
    #[error("no answer within {deadline:?}")]
    DeadlineExceeded {
        /// The deadline of the call.
        deadline: Duration,
    },
    /// No task or process has the id.
    #[error("{message}")]
    NoSuchTask {
        /// The agent's sentence.
        message: String,
    },
    /// The agent has no service of this name to be healthy.
    #[error("the agent has no service {service:?}")]
    NoSuchService {
        /// The name that was asked for.
        service: String,
    },
    /// The request is not one that the agent can serve.
    #[error("{message}")]
    InvalidArgument {
        /// The field that is wrong; empty when the agent names none.
        field: String,
        /// What is wrong with it, and what would be right; empty when the agent does not say.
        description: String,
        /// The agent's sentence.
        message: String,
    },
    /// The kernel, or how the agent was started, does not allow the call.
    #[error("{message}")]
    FailedPrecondition {
        /// The contract's name for the cause, such as `NO_PERMISSION`; empty when there is none.
        reason: String,
        /// The agent's sentence, which says what to change.
        message: String,
    },
    /// The caller did not say who it is, or could not prove it.
    #[error("{message}")]
    Unauthenticated {
        /// The agent's sentence.
        message: String,
    },
    /// The caller may not make this call.
    #[error("{message}")]
    PermissionDenied {
        /// The agent's sentence.
        message: String,
    },
    /// The agent serves as many as it can.
    #[error("{message}")]
    ResourceExhausted {
        /// The agent's sentence.
        message: String,
        /// How long to wait before the next attempt, if the agent says so.
        retry_after: Option<Duration>,
    },
    /// The agent is going away, or is not ready yet.
    #[error("{message}")]
    Unavailable {
        /// The agent's sentence.
        message: String,
        /// How long to wait before the next attempt, if the agent says so.
        retry_after: Option<Duration>,
    },
    /// Something else listens at the target, or an agent that is older than this client.
    #[error("who answers does not know this call: {message}")]
    Unimplemented {
        /// The answer's sentence.
        message: String,
    },
    /// The agent failed; its log has the cause under the id that the message gives.
    #[error("the agent failed: {message}")]
    Internal {
        /// The agent's sentence.
        message: String,
    },
    /// The answer lacks what the contract promises.
    #[error("the answer lacks {field}")]
    Incomplete {
        /// The field that is absent.
        field: &'static str,
    },
    /// A status that the contract does not have.
    #[error("unexpected status {code:?}: {message}")]
    Unexpected {
        /// Its code.
        code: Code,
        /// Its message.
        message: String,
    },
}

impl Error {
    /// Returns why TLS failed, for an error of which it was the cause.
    #[must_use]
    pub fn tls_failure(&self) -> Option<TlsFailure> {
        TlsFailure::among(self)
    }

    /// Returns the text of the deepest cause, such as `No such file or directory (os error 2)`,
    /// for an error that has one.
    #[must_use]
    pub fn root_cause(&self) -> Option<String> {
        let mut cause = std::error::Error::source(self)?;
        while let Some(deeper) = cause.source() {
            cause = deeper;
        }
        Some(cause.to_string())
    }
}
