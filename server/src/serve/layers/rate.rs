//! Limits the calls per second of a principal (`--max-call-rate`).

use std::sync::Arc;

use http::{Request, Response};
use tower_http::validate_request::ValidateRequest;

use super::method::{Kind, Method};
use super::response::ResponseBody;
use super::response_future::rejection;
use crate::rpc::RpcError;
use crate::security::{Caller, Limit};

/// Rejects calls above the rate, with the time after which the next one is accepted.
#[derive(Clone, Debug)]
pub(super) struct LimitRate {
    caller: Arc<Caller>,
}

impl LimitRate {
    pub(super) const fn new(caller: Arc<Caller>) -> Self {
        Self { caller }
    }

    /// Returns true for health checks of callers that may make them. Their response decides whether
    /// the agent is restarted, and costs no more than a rejection.
    fn is_probe(&self, method: Method) -> bool {
        method.kind == Kind::Health && self.caller.has(method.role)
    }
}

impl<B> ValidateRequest<B> for LimitRate {
    type ResponseBody = ResponseBody;

    fn validate(&mut self, request: &mut Request<B>) -> Result<(), Response<ResponseBody>> {
        if self.is_probe(Method::of(request.uri().path())) {
            return Ok(());
        }
        let Err(wait) = self.caller.acquire_call() else { return Ok(()) };
        let per_second = self.caller.call_rate();
        let principal = self.caller.principal().to_string();
        let error = RpcError::RateLimited { principal, per_second, wait };
        self.caller.reject(Limit::CallRate, &error);
        Err(rejection(error))
    }
}
