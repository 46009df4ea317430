//! Rejects the calls of a connection beyond `--max-connections`.

use http::{Request, Response};
use tower_http::validate_request::ValidateRequest;

use super::method::{Kind, Method};
use super::response::ResponseBody;
use super::response_future::rejection;
use crate::rpc::RpcError;
use crate::security::LimitReached;

/// Rejects every call but health checks, so that an agent is not restarted because its connections
/// are used up. Connections within the limit pass. Rejections are not counted here: the connection was
/// counted when it was accepted.
#[derive(Clone, Copy, Debug)]
pub(super) struct RejectOverflow {
    reached: Option<LimitReached>,
}

impl RejectOverflow {
    pub(super) const fn new(reached: Option<LimitReached>) -> Self {
        Self { reached }
    }
}

impl<B> ValidateRequest<B> for RejectOverflow {
    type ResponseBody = ResponseBody;

    fn validate(&mut self, request: &mut Request<B>) -> Result<(), Response<ResponseBody>> {
        let Some(reached) = self.reached else { return Ok(()) };
        if Method::of(request.uri().path()).kind == Kind::Health {
            return Ok(());
        }
        Err(rejection(RpcError::LimitReached(reached)))
    }
}
