//! Limits the size of a call's headers (`--max-header-size`) and message (`--max-request-size`).

use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::future::Either;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use tonic::Code;
use tower::{Layer, Service};

use super::CallSize;
use super::call_record::code_of;
use super::method::{Kind, Method};
use super::response::ResponseBody;
use super::response_future::{
    CheckedFuture, OnResponse, Outcome, ResponseFuture, rejected, rejection,
};
use crate::rpc::{RpcError, SMALL_REQUEST};
use crate::security::{Caller, Limit};

/// The overhead of one header in the size of a list (RFC 9113, section 6.5.2).
const HEADER_OVERHEAD: usize = 32;
/// The size of `:method`, `:scheme`, `:path` and `:authority`, the last two without their values.
const PSEUDO_HEADERS: usize = ":method:scheme:path:authorityPOSThttp".len() + 4 * HEADER_OVERHEAD;

/// The header with the details of a status.
const GRPC_STATUS_DETAILS: &str = "grpc-status-details-bin";

/// Applies [`RequestSize`].
#[derive(Clone, Debug)]
pub(super) struct RequestSizeLayer {
    caller: Arc<Caller>,
    size: CallSize,
}

/// Rejects calls with too many bytes of headers, and counts those whose message the services found
/// too long.
#[derive(Clone, Debug)]
pub(super) struct RequestSize<S> {
    inner: S,
    caller: Arc<Caller>,
    size: CallSize,
}

/// Recognizes the response to a message that is too long.
pub(super) struct CountLongMessage {
    caller: Arc<Caller>,
    limit: usize,
}

impl RequestSizeLayer {
    pub(super) const fn new(caller: Arc<Caller>, size: CallSize) -> Self {
        Self { caller, size }
    }
}

impl<S> Layer<S> for RequestSizeLayer {
    type Service = RequestSize<S>;

    fn layer(&self, inner: S) -> RequestSize<S> {
        RequestSize { inner, caller: Arc::clone(&self.caller), size: self.size }
    }
}

impl<S, B> Service<Request<B>> for RequestSize<S>
where
    S: Service<Request<B>, Response = Response<ResponseBody>, Error = std::convert::Infallible>,
    S::Future: Future<Output = Outcome>,
{
    type Response = Response<ResponseBody>;
    type Error = std::convert::Infallible;
    type Future = CheckedFuture<S::Future, CountLongMessage>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        if header_list_size(&request) > self.size.headers {
            let error = RpcError::LongHeaders { limit: self.size.headers };
            self.caller.reject(Limit::HeaderSize, &error);
            return rejected(error);
        }
        let kind = Method::of(request.uri().path()).kind;
        let limit = max_request(kind, self.size.request);
        let count = CountLongMessage { caller: Arc::clone(&self.caller), limit };
        Either::Right(ResponseFuture::new(self.inner.call(request), count))
    }
}

impl OnResponse for CountLongMessage {
    fn on_response(self, response: Response<ResponseBody>) -> Response<ResponseBody> {
        if !is_long_message(response.headers()) {
            return response;
        }
        let error = RpcError::LongRequest { limit: self.limit };
        self.caller.reject(Limit::RequestSize, &error);
        rejection(error)
    }
}

/// Returns true for tonic's response to a message that is too long. Its code is out of range, which
/// nothing else uses, or resource exhausted if the message is too long only after decompression;
/// other responses with that code have details.
fn is_long_message(headers: &HeaderMap) -> bool {
    match code_of(headers) {
        Some(Code::OutOfRange) => true,
        Some(Code::ResourceExhausted) => !headers.contains_key(GRPC_STATUS_DETAILS),
        _ => false,
    }
}

/// Returns the largest message in bytes of a call of this kind.
fn max_request(kind: Kind, allowed: usize) -> usize {
    match kind {
        Kind::Call | Kind::Watch => allowed,
        Kind::Stream | Kind::Health => allowed.min(SMALL_REQUEST),
    }
}

/// Returns the size of the header list as HTTP/2 counts it. The pseudo-headers are part of it, because
/// a path can be as long as any header.
fn header_list_size<B>(request: &Request<B>) -> usize {
    let size = |(name, value): (&HeaderName, &HeaderValue)| {
        name.as_str().len() + value.len() + HEADER_OVERHEAD
    };
    let uri = request.uri();
    let path = uri.path_and_query().map_or(0, |path| path.as_str().len());
    let authority = uri.authority().map_or(0, |authority| authority.as_str().len());
    let headers: usize = request.headers().iter().map(size).sum();
    headers + path + authority + PSEUDO_HEADERS
}
