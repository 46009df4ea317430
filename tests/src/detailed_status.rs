//! The status of a failed call with its details.

use tonic::{Code, Status};
use tonic_types::StatusExt;

/// A status with its details, in a form that can be compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DetailedStatus {
    /// The code.
    pub code: Code,
    /// The message.
    pub message: String,
    /// The reason of `ErrorInfo`, if there is one.
    pub reason: Option<String>,
    /// The field and the description of each violation of `BadRequest`.
    pub violations: Vec<(String, String)>,
    /// True if `RetryInfo` has a delay.
    pub retry: bool,
}

impl From<&Status> for DetailedStatus {
    fn from(status: &Status) -> Self {
        let details = status.get_error_details();
        let bad_request = details.bad_request().into_iter();
        let violations = bad_request.flat_map(|bad| &bad.field_violations);
        Self {
            code: status.code(),
            message: status.message().to_owned(),
            reason: details.error_info().map(|info| info.reason.clone()),
            violations: violations.map(|v| (v.field.clone(), v.description.clone())).collect(),
            retry: details.retry_info().is_some(),
        }
    }
}
