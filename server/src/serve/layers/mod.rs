//! The tower layers that each call passes on its way to the services.

mod authorize;
mod call_record;
mod deadline;
mod grpc_request;
mod limit;
mod method;
mod overflow;
mod rate;
mod request_body;
mod request_size;
mod response;
mod response_future;
mod streams;
mod trace;

use std::convert::Infallible;
use std::sync::Arc;

use http::{Request, Response};
use hyper::body::Incoming;
use tonic::body::Body;
use tonic::service::Routes;
use tower::{Service, ServiceBuilder};
use tower_http::add_extension::AddExtensionLayer;
use tower_http::validate_request::ValidateRequestHeaderLayer;

use self::authorize::Authorize;
use self::deadline::DeadlineLayer;
use self::grpc_request::CheckGrpcRequest;
use self::limit::LimitLayer;
use self::overflow::RejectOverflow;
use self::rate::LimitRate;
use self::request_size::RequestSizeLayer;
use self::response::ResponseBody;
use self::streams::StreamsLayer;
use self::trace::TraceLayer;
use super::activity::Activity;
use crate::security::{Caller, LimitReached};

/// The largest request and header list that a call may have.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CallSize {
    /// Bytes of a request message.
    pub(crate) request: usize,
    /// Bytes of the header list, counted as HTTP/2 counts them.
    pub(crate) headers: usize,
}

/// The service that a connection's calls go to: the layers, with the gRPC services behind them.
pub(super) trait CallService:
    Service<
        Request<Incoming>,
        Response = Response<ResponseBody>,
        Error = Infallible,
        Future: Send + 'static,
    > + Clone
    + Send
    + 'static
{
}

impl<S> CallService for S where
    S: Service<
            Request<Incoming>,
            Response = Response<ResponseBody>,
            Error = Infallible,
            Future: Send + 'static,
        > + Clone
        + Send
        + 'static
{
}

/// The facts about one connection that the layers use.
#[derive(Debug)]
pub(super) struct ConnectionContext {
    pub(super) caller: Arc<Caller>,
    pub(super) activity: Arc<Activity>,
    pub(super) size: CallSize,
    /// The limit that the connection exceeds, for which its calls are rejected.
    pub(super) overflow: Option<LimitReached>,
}

/// Wraps `routes` in the layers of one connection.
///
/// The order is part of the contract: a call is counted against the rate before its role is
/// checked, so that denied calls are limited too, and holds a permit only once it has passed all
/// other checks. `Caller` is found by the services in the request's extensions.
pub(super) fn layered(routes: Routes, context: ConnectionContext) -> impl CallService {
    let ConnectionContext { caller, activity, size, overflow } = context;
    ServiceBuilder::new()
        .layer(StreamsLayer::new(Arc::clone(&caller), activity))
        .layer(TraceLayer::new(Arc::clone(&caller)))
        .layer(ValidateRequestHeaderLayer::custom(LimitRate::new(Arc::clone(&caller))))
        .layer(ValidateRequestHeaderLayer::custom(RejectOverflow::new(overflow)))
        .layer(ValidateRequestHeaderLayer::custom(Authorize::new(Arc::clone(&caller))))
        .layer(ValidateRequestHeaderLayer::custom(CheckGrpcRequest))
        .layer(RequestSizeLayer::new(Arc::clone(&caller), size))
        .layer(LimitLayer::new(Arc::clone(&caller)))
        .layer(DeadlineLayer::new(Arc::clone(&caller)))
        .layer(AddExtensionLayer::new(caller))
        .map_request(request_body::checked::<Incoming>)
        .map_response(|response: Response<Body>| response.map(ResponseBody::from))
        .service(routes)
}
