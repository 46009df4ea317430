//! Writes one log record for each call, at level debug.

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{Request, Response};
use tower::{Layer, Service};
use tracing::instrument::{Instrument, Instrumented};

use super::call_record::CallRecord;
use super::method::Method;
use super::response::ResponseBody;
use super::response_future::{OnResponse, Outcome, ResponseFuture};
use crate::security::Caller;

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
        let response = record.span().in_scope(|| self.inner.call(request));
        ResponseFuture::new(response.instrument(record.span().clone()), record)
    }
}

impl OnResponse for CallRecord {
    fn on_response(mut self, mut response: Response<ResponseBody>) -> Response<ResponseBody> {
        self.note(response.headers());
        response.body_mut().record(self);
        response
    }
}
