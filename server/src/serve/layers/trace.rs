//! Writes one log record for each call, at level debug.

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use http::{HeaderMap, Request, Response};
use tonic::Code;
use tower::{Layer, Service};
use tracing::Span;
use tracing::instrument::{Instrument, Instrumented};

use super::method::Method;
use super::response::{ResponseBody, code_of};
use super::response_future::{OnResponse, Outcome, ResponseFuture};
use crate::security::{Caller, Principal};

/// Applies [`Trace`].
#[derive(Clone, Debug)]
pub(super) struct TraceLayer {
    caller: Arc<Caller>,
}

/// Runs each call in a span with its principal and method, and logs its code and duration when the
/// response has ended or the caller has left. `tower_http::trace` does not do: it reads the clock for
/// every call, and has no record for a call that is cancelled.
#[derive(Clone, Debug)]
pub(super) struct Trace<S> {
    inner: S,
    caller: Arc<Caller>,
}

/// The log record of a call, written when it is dropped. Nothing is recorded unless the log includes
/// the level debug.
#[derive(Debug)]
pub(super) struct CallRecord {
    span: Span,
    begun: Option<Instant>,
    code: Option<Code>,
}

impl TraceLayer {
    pub(super) const fn new(caller: Arc<Caller>) -> Self {
        Self { caller }
    }
}

impl<S> Layer<S> for TraceLayer {
    type Service = Trace<S>;

    fn layer(&self, inner: S) -> Trace<S> {
        Trace { inner, caller: Arc::clone(&self.caller) }
    }
}

impl<S, B> Service<Request<B>> for Trace<S>
where
    S: Service<Request<B>, Response = Response<ResponseBody>, Error = Infallible>,
    S::Future: Future<Output = Outcome>,
{
    type Response = Response<ResponseBody>;
    type Error = Infallible;
    type Future = ResponseFuture<Instrumented<S::Future>, CallRecord>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let method = Method::of(request.uri().path());
        let record = CallRecord::begin(self.caller.principal(), method.name);
        let response = record.span.in_scope(|| self.inner.call(request));
        ResponseFuture::new(response.instrument(record.span.clone()), record)
    }
}

impl OnResponse for CallRecord {
    fn on_response(mut self, mut response: Response<ResponseBody>) -> Response<ResponseBody> {
        self.note(response.headers());
        response.body_mut().record(self);
        response
    }
}

impl CallRecord {
    fn begin(principal: &Principal, method: &'static str) -> Self {
        let span = tracing::debug_span!("call", %principal, method);
        let begun = (!span.is_disabled()).then(Instant::now);
        Self { span, begun, code: None }
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
