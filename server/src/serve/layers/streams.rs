//! Counts the open streams of a connection.

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{Request, Response};
use tower::{Layer, Service};

use super::super::activity::{Activity, StreamGuard};
use super::response::ResponseBody;
use super::response_future::{OnResponse, Outcome, ResponseFuture};
use crate::security::{Caller, Limit};

/// Applies [`CountStreams`].
#[derive(Clone, Debug)]
pub(super) struct StreamsLayer {
    caller: Arc<Caller>,
    activity: Arc<Activity>,
}

/// Counts a stream from its request to the end of its response, and reports when the connection
/// reaches `--max-streams`.
#[derive(Clone, Debug)]
pub(super) struct CountStreams<S> {
    inner: S,
    caller: Arc<Caller>,
    activity: Arc<Activity>,
}

impl StreamsLayer {
    pub(super) const fn new(caller: Arc<Caller>, activity: Arc<Activity>) -> Self {
        Self { caller, activity }
    }
}

impl<S> Layer<S> for StreamsLayer {
    type Service = CountStreams<S>;

    fn layer(&self, inner: S) -> CountStreams<S> {
        let (caller, activity) = (Arc::clone(&self.caller), Arc::clone(&self.activity));
        CountStreams { inner, caller, activity }
    }
}

impl<S, B> Service<Request<B>> for CountStreams<S>
where
    S: Service<Request<B>, Response = Response<ResponseBody>, Error = Infallible>,
    S::Future: Future<Output = Outcome>,
{
    type Response = Response<ResponseBody>;
    type Error = Infallible;
    type Future = ResponseFuture<S::Future, StreamGuard>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let (stream, is_last) = Activity::begin(&self.activity);
        if is_last {
            let what = "all streams of the connection are in use, and further calls wait in the caller (--max-streams)";
            self.caller.reject(Limit::Streams, &what);
        }
        ResponseFuture::new(self.inner.call(request), stream)
    }
}

impl OnResponse for StreamGuard {
    fn on_response(self, mut response: Response<ResponseBody>) -> Response<ResponseBody> {
        response.body_mut().guard(self);
        response
    }
}
