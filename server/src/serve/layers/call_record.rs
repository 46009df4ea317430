//! The log record of a call.

use std::time::Instant;

use http::HeaderMap;
use tonic::Code;
use tracing::Span;

use crate::security::Principal;

/// The header or trailer with the status code.
const GRPC_STATUS: &str = "grpc-status";

/// The log record of a call, written when it is dropped. Nothing is recorded unless the log includes
/// the level debug.
#[derive(Debug)]
pub(super) struct CallRecord {
    span: Span,
    begun: Option<Instant>,
    code: Option<Code>,
}

impl CallRecord {
    pub(super) fn begin(principal: &Principal, method: &'static str) -> Self {
        let span = tracing::debug_span!("call", %principal, method);
        let begun = (!span.is_disabled()).then(Instant::now);
        Self { span, begun, code: None }
    }

    /// Returns the span of the call.
    pub(super) const fn span(&self) -> &Span {
        &self.span
    }

    /// Keeps the status among headers or trailers, if it is there.
    pub(super) fn note(&mut self, headers: &HeaderMap) {
        if self.begun.is_some() {
            self.code = code_of(headers).or(self.code);
        }
    }
}

impl Drop for CallRecord {
    fn drop(&mut self) {
        let Some(begun) = self.begun else { return };
        // Without a status, the caller left before the agent sent it.
        let code = self.code.unwrap_or(Code::Cancelled);
        let duration = begun.elapsed();
        self.span.in_scope(|| tracing::debug!(?code, ?duration, "the call ended"));
    }
}

/// Returns the status code among headers or trailers.
pub(super) fn code_of(headers: &HeaderMap) -> Option<Code> {
    headers.get(GRPC_STATUS).map(|status| Code::from_bytes(status.as_bytes()))
}
