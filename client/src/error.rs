//! Errors of the client.

use std::time::Duration;

use tonic::Code;

use crate::target::{InvalidTarget, Target};
use crate::tls_failure::TlsFailure;

/// The reason for a call's failure.
///
/// A field `message` holds the agent's own sentence. The sentence can quote the request, so that a
/// program escapes it before it writes it to a terminal.
///
/// ```no_run
/// use taskstats_client::{Client, Error};
///
/// # async fn example(client: Client) -> Result<(), Error> {
/// match client.pid(4711).await {
///     Ok(stats) => println!("{:?}", stats.elapsed_us),
///     Err(Error::NoSuchTask { .. }) => println!("the task has exited"),
///     Err(error) => return Err(error),
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The text is not the address of an agent.
    #[error(transparent)]
    InvalidTarget(#[from] InvalidTarget),
    /// The certificates of the [`ClientBuilder`](crate::ClientBuilder) cannot be used.
    #[error("invalid TLS settings: {problem}")]
    Tls {
        /// The mistake, and how to correct it.
        problem: String,
    },
    /// No connection: the agent does not run at the target, or this user has no access to its
    /// socket, or one side refuses the certificate of the other.
    #[error("cannot reach taskstatsd at {target}")]
    Unreachable {
        /// The address.
        target: Target,
        /// The cause.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The connection broke during the call.
    #[error("the connection to taskstatsd at {target} broke")]
    Disconnected {
        /// The address of the agent.
        target: Target,
        /// The cause.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The response did not arrive within the deadline.
    #[error("deadline of {deadline:?} exceeded")]
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
    /// The agent has no service of this name.
    #[error("the agent has no service {service:?}")]
    NoSuchService {
        /// The name in the request.
        service: String,
    },
    /// The request is invalid.
    #[error("{message}")]
    InvalidArgument {
        /// The invalid field; empty when the agent names none.
        field: String,
        /// The mistake, and how to correct it; empty when the agent does not say.
        description: String,
        /// The agent's sentence.
        message: String,
    },
    /// The kernel, or the configuration of the agent, does not allow the call.
    #[error("{message}")]
    FailedPrecondition {
        /// The contract's name for the cause, such as `NO_PERMISSION`; empty when there is none.
        reason: String,
        /// The agent's sentence, which includes the correction.
        message: String,
    },
    /// The caller has no identity, or none that the agent accepts.
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
    /// A limit of the agent is reached.
    #[error("{message}")]
    ResourceExhausted {
        /// The agent's sentence.
        message: String,
        /// The delay before the next attempt; `None` when the agent suggests none.
        retry_after: Option<Duration>,
    },
    /// The agent is draining, or not ready yet.
    #[error("{message}")]
    Unavailable {
        /// The agent's sentence.
        message: String,
        /// The delay before the next attempt; `None` when the agent suggests none.
        retry_after: Option<Duration>,
    },
    /// The server does not have this call: it is an agent older than this client, or another program.
    #[error("the server does not implement this call: {message}")]
    Unimplemented {
        /// The server's sentence.
        message: String,
    },
    /// The agent failed. Its log has the cause, under the id in the message.
    #[error("the agent failed: {message}")]
    Internal {
        /// The agent's sentence.
        message: String,
    },
    /// The response lacks a field that the contract guarantees.
    #[error("the response lacks the field {field}")]
    Incomplete {
        /// The field that is absent.
        field: &'static str,
    },
    /// A status that the contract does not define.
    #[error("unexpected status {code:?}: {message}")]
    Unexpected {
        /// The code.
        code: Code,
        /// The message.
        message: String,
    },
}

impl Error {
    /// Returns the TLS failure that caused this error, if one did.
    ///
    /// ```no_run
    /// use taskstats_client::{Client, TlsFailure};
    ///
    /// # async fn example() {
    /// if let Err(error) = Client::connect("tls://node7").await {
    ///     if error.tls_failure() == Some(TlsFailure::NotValidNow) {
    ///         eprintln!("the agent's certificate has expired");
    ///     }
    /// }
    /// # }
    /// ```
    #[must_use]
    pub fn tls_failure(&self) -> Option<TlsFailure> {
        TlsFailure::among(self)
    }

    /// Returns the text of the deepest cause, such as `No such file or directory (os error 2)`, if the
    /// error has a cause.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// use taskstats_client::Client;
    ///
    /// let error = Client::connect("/nowhere/agent.sock").await.unwrap_err();
    /// assert_eq!(error.root_cause().unwrap(), "No such file or directory (os error 2)");
    /// # });
    /// ```
    #[must_use]
    pub fn root_cause(&self) -> Option<String> {
        let mut cause = std::error::Error::source(self)?;
        while let Some(deeper) = cause.source() {
            cause = deeper;
        }
        Some(cause.to_string())
    }
}
