//! The future of a layer that changes the response of the calls that it lets through.

use std::convert::Infallible;
use std::future::{Future, Ready, ready};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_util::future::Either;
use http::Response;
use pin_project_lite::pin_project;
use tonic::Status;

use super::response::ResponseBody;
use crate::rpc::RpcError;

/// The outcome of each layer. Errors are responses, too.
pub(super) type Outcome = Result<Response<ResponseBody>, Infallible>;

/// The change that a layer makes to a response.
pub(super) trait OnResponse {
    /// Returns the response that the caller receives.
    fn on_response(self, response: Response<ResponseBody>) -> Response<ResponseBody>;
}

pin_project! {
    /// Waits for the response of the inner service, and changes it.
    pub(super) struct ResponseFuture<F, T> {
        #[pin]
        inner: F,
        on_response: Option<T>,
    }
}

/// The future of a layer that rejects a call at once or changes its response.
pub(super) type CheckedFuture<F, T> = Either<Ready<Outcome>, ResponseFuture<F, T>>;

impl<F, T> ResponseFuture<F, T> {
    pub(super) const fn new(inner: F, on_response: T) -> Self {
        Self { inner, on_response: Some(on_response) }
    }
}

impl<F: Future<Output = Outcome>, T: OnResponse> Future for ResponseFuture<F, T> {
    type Output = Outcome;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Outcome> {
        let this = self.project();
        let Ok(response) = ready!(this.inner.poll(cx));
        Poll::Ready(Ok(match this.on_response.take() {
            Some(change) => change.on_response(response),
            None => response,
        }))
    }
}

/// Returns the response to a call that is rejected.
pub(super) fn rejection(error: RpcError) -> Response<ResponseBody> {
    Status::from(error).into_http()
}

/// Returns the future of a call that is rejected.
pub(super) fn rejected<F, T>(error: RpcError) -> CheckedFuture<F, T> {
    Either::Left(ready(Ok(rejection(error))))
}
