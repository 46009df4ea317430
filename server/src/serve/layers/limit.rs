//! Limits the calls in flight of each principal and of all of them (`--max-calls`).

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::future::Either;
use http::{Request, Response};
use tower::{Layer, Service};

use super::super::send_timeout;
use super::method::{Kind, Method};
use super::response::{Permits, ResponseBody};
use super::response_future::{CheckedFuture, OnResponse, Outcome, ResponseFuture, rejected};
use crate::rpc::RpcError;
use crate::security::{Caller, Permit};

/// Applies [`LimitCalls`].
#[derive(Clone, Debug)]
pub(super) struct LimitLayer {
    caller: Arc<Caller>,
}

/// Rejects calls while the caller has too many in flight. A call is in flight until HTTP/2 has sent
/// its response: otherwise a peer that reads no responses could make the agent keep any number of
/// them. `tower::limit::ConcurrencyLimit` does not do: its calls wait, are not counted by principal,
/// and end before their response is sent.
#[derive(Clone, Debug)]
pub(super) struct LimitCalls<S> {
    inner: S,
    caller: Arc<Caller>,
}

/// Ties a call's permit to its response.
pub(super) struct HoldPermits {
    caller: Arc<Caller>,
    kind: Kind,
    permit: Permit,
}

impl LimitLayer {
    pub(super) const fn new(caller: Arc<Caller>) -> Self {
        Self { caller }
    }
}

impl<S> Layer<S> for LimitLayer {
    type Service = LimitCalls<S>;

    fn layer(&self, inner: S) -> LimitCalls<S> {
        LimitCalls { inner, caller: Arc::clone(&self.caller) }
    }
}

impl<S, B> Service<Request<B>> for LimitCalls<S>
where
    S: Service<Request<B>, Response = Response<ResponseBody>, Error = Infallible>,
    S::Future: Future<Output = Outcome>,
{
    type Response = Response<ResponseBody>;
    type Error = Infallible;
    type Future = CheckedFuture<S::Future, HoldPermits>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let kind = Method::of(request.uri().path()).kind;
        let permit = match self.caller.acquire(kind.resource()) {
            Ok(permit) => permit,
            Err(full) => return rejected(RpcError::LimitReached(full)),
        };
        let hold = HoldPermits { caller: Arc::clone(&self.caller), kind, permit };
        Either::Right(ResponseFuture::new(self.inner.call(request), hold))
    }
}

impl OnResponse for HoldPermits {
    fn on_response(self, mut response: Response<ResponseBody>) -> Response<ResponseBody> {
        if self.kind.has_send_timeout() {
            send_timeout::begin(&self.caller);
        }
        // A watcher holds a permit of its own, which `rpc` acquires.
        if self.kind != Kind::Watch {
            let slow_call = response.extensions_mut().remove();
            response.body_mut().hold(Permits { _call: self.permit, _slow_call: slow_call });
        }
        response
    }
}
