//! Checks that the caller has the role that a method needs.

use std::sync::Arc;

use http::{Request, Response};
use tower_http::validate_request::ValidateRequest;

use super::method::Method;
use super::response::ResponseBody;
use super::response_future::rejection;
use crate::rpc::RpcError;
use crate::security::{Caller, Principal};

/// Rejects calls of methods for which the caller lacks the role, and counts them.
#[derive(Clone, Debug)]
pub(super) struct Authorize {
    caller: Arc<Caller>,
}

impl Authorize {
    pub(super) const fn new(caller: Arc<Caller>) -> Self {
        Self { caller }
    }
}

impl<B> ValidateRequest<B> for Authorize {
    type ResponseBody = ResponseBody;

    fn validate(&mut self, request: &mut Request<B>) -> Result<(), Response<ResponseBody>> {
        let method = Method::of(request.uri().path());
        if self.caller.has(method.role) {
            return Ok(());
        }
        let error = denied(self.caller.principal(), method);
        self.caller.deny(&error);
        Err(rejection(error))
    }
}

fn denied(principal: &Principal, method: Method) -> RpcError {
    let Method { name: method, role, .. } = method;
    let name = principal.to_string();
    match principal {
        Principal::Anonymous(_) => RpcError::Unauthenticated { principal: name, method, role },
        // A process that could open the socket by a supplementary group has rules for another gid.
        Principal::Local { .. } => {
            let principal = format!("{name} (its primary group)");
            RpcError::Denied { principal, method, role }
        }
        Principal::Certificate(_) => RpcError::Denied { principal: name, method, role },
    }
}
