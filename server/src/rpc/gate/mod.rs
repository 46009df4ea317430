//! What every call passes on its way to the services: who may, how much, how often, how long; and its
//! line in the log.

mod activity;
mod deadline;
mod method;
mod response;
mod send_timeout;

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use tokio::time::timeout;
use tonic::body::Body;
use tonic::codegen::Service as _;
use tonic::service::Routes;
use tonic::{Code, Status};
use tracing::Instrument;

pub use self::activity::Activity;
pub use self::response::ResponseBody;
pub use self::send_timeout::with_send_timeout;

use self::method::{Kind, Method};
use self::response::{Permits, Record, code_of};
use super::RpcError;
use crate::security::{Caller, Limit, LimitReached, Permit, Principal};

/// The overhead of a header in the size of a list of them (RFC 9113, 6.5.2).
const HEADER_OVERHEAD: usize = 32;
/// What `:method`, `:scheme`, `:path` and `:authority` take, the last two without their values.
const PSEUDO_HEADERS: usize = ":method:scheme:path:authorityPOSThttp".len() + 4 * HEADER_OVERHEAD;
/// The longest time in which a call is answered, or its stream begun. Answers take milliseconds; what
/// takes so long is a request that never comes whole.
const LONGEST_CALL: Duration = Duration::from_secs(30);

/// Bytes of a question for the health, or of one by reflection, at most: they are names. There may be so many
/// of them at once, on each connection, that they are not given what a `BatchGet` needs.
pub const SMALL_REQUEST: usize = 4 << 10;

/// How large a call may be.
#[derive(Clone, Copy, Debug)]
pub struct CallSize {
    /// Bytes of a request.
    pub request: usize,
    /// Bytes of its headers, as HTTP/2 counts them.
    pub headers: usize,
}

/// One connection's way to the services.
#[derive(Clone, Debug)]
pub struct Gate {
    routes: Routes,
    caller: Arc<Caller>,
    activity: Arc<Activity>,
    size: CallSize,
    /// Why there is no connection left for this one.
    overflow: Option<LimitReached>,
}

type Answered = Result<Response<ResponseBody>, Infallible>;

impl Gate {
    /// Leads the calls of one connection to `routes`. What is going on is told to `activity`.
    #[must_use]
    pub fn new(
        routes: Routes,
        caller: Arc<Caller>,
        activity: Arc<Activity>,
        size: CallSize,
    ) -> Self {
        Self { routes, caller, activity, size, overflow: None }
    }

    /// Answers each call with why there is no connection left for it, except for questions for the health:
    /// those are answered, which costs no more, so that an agent is not restarted for being full.
    #[must_use]
    pub fn overflowing(self, why: LimitReached) -> Self {
        Self { overflow: Some(why), ..self }
    }

    /// Lets a call in, or says why not.
    fn admit(&self, method: Method, request: &Request<Incoming>) -> Result<Permit, RpcError> {
        let may = self.caller.has(method.role);
        // Whoever may ask for the health decides whether the agent is restarted, and answering costs no
        // more than refusing.
        let is_probe = method.kind == Kind::Health && may;
        if !is_probe {
            self.acquire_call()?;
        }
        // The connection was counted, once.
        if let (Some(full), true) = (self.overflow, method.kind != Kind::Health) {
            return Err(RpcError::LimitReached(full));
        }
        if !may {
            let error = denied(self.caller.principal(), method);
            self.caller.deny(&error);
            return Err(error);
        }
        if self.is_too_long(request) {
            let error = RpcError::LongHeaders { limit: self.size.headers };
            self.caller.reject(Limit::HeaderSize, &error);
            return Err(error);
        }
        self.caller.acquire(method.kind.resource()).map_err(RpcError::LimitReached)
    }

    fn acquire_call(&self) -> Result<(), RpcError> {
        let Err(wait) = self.caller.acquire_call() else { return Ok(()) };
        let per_second = self.caller.call_rate();
        let principal = self.caller.principal().to_string();
        let error = RpcError::RateLimited { principal, per_second, wait };
        self.caller.reject(Limit::CallRate, &error);
        Err(error)
    }

    fn note_last_stream(&self) {
        let what = "all streams of the connection are in use, and further calls wait in the caller (--max-streams)";
        self.caller.reject(Limit::Streams, &what);
    }

    /// What stands in front of the headers counts with them, as in HTTP/2: a path can be as long.
    fn is_too_long(&self, request: &Request<Incoming>) -> bool {
        let size = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
            name.as_str().len() + value.len() + HEADER_OVERHEAD
        };
        let uri = request.uri();
        let path = uri.path_and_query().map_or(0, |path| path.as_str().len());
        let authority = uri.authority().map_or(0, |authority| authority.as_str().len());
        let headers: usize = request.headers().iter().map(size).sum();
        headers + path + authority + PSEUDO_HEADERS > self.size.headers
    }

    /// Has the call answered, within its time, and gives back what its answer is to hold.
    fn forward(
        &self,
        mut request: Request<Incoming>,
        kind: Kind,
        slot: Permit,
    ) -> impl Future<Output = (Response<Body>, Option<Arc<Permits>>)> + Send + 'static {
        let asked = deadline::of(request.headers());
        let longest = asked.map_or(LONGEST_CALL, |asked| asked.min(LONGEST_CALL));
        request.extensions_mut().insert(Arc::clone(&self.caller));
        let answering = self.routes.clone().call(request);
        let (caller, limit) = (Arc::clone(&self.caller), kind.longest_request(self.size.request));
        async move {
            let answered = timeout(longest, answering).await;
            let Ok(Ok(mut response)) = answered else {
                let error = RpcError::DeadlineExceeded(longest);
                // A caller that is in a hurry ran into no limit.
                if longest == LONGEST_CALL {
                    caller.reject(Limit::CallTime, &error);
                }
                return (Status::from(error).into_http(), None);
            };
            if code_of(response.headers()) == Some(Code::OutOfRange) {
                return (too_long(&caller, limit), None);
            }
            if kind.has_send_timeout() {
                send_timeout::begin(&caller);
            }
            let slow_call = response.extensions_mut().remove();
            let held = Permits { _call: slot, _slow_call: slow_call };
            // Watchers are counted by themselves.
            let held = (kind != Kind::Watch).then(|| Arc::new(held));
            (response, held)
        }
    }
}

impl hyper::service::Service<Request<Incoming>> for Gate {
    type Response = Response<ResponseBody>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Answered> + Send>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let method = Method::of(request.uri().path());
        let (stream, is_last) = Activity::begin(&self.activity);
        let record = Record::begin(self.caller.principal(), method.name);
        if is_last {
            self.note_last_stream();
        }
        let admitted = record.span().in_scope(|| self.admit(method, &request));
        let slot = match admitted {
            Ok(slot) => slot,
            Err(error) => {
                let response = Status::from(error).into_http();
                let answered = Ok(ResponseBody::of(response, record, None, stream));
                return Box::pin(std::future::ready(answered));
            }
        };
        let answering = self.forward(request, method.kind, slot);
        let answering = answering.instrument(record.span().clone());
        Box::pin(async move {
            let (response, held) = answering.await;
            Ok(ResponseBody::of(response, record, held, stream))
        })
    }
}

/// tonic calls a message out of range that is longer than it may be; nothing else here is so called.
fn too_long(caller: &Caller, limit: usize) -> Response<Body> {
    let error = RpcError::LongRequest { limit };
    caller.reject(Limit::RequestSize, &error);
    Status::from(error).into_http()
}

fn denied(principal: &Principal, method: Method) -> RpcError {
    let Method { name: method, role, .. } = method;
    let name = principal.to_string();
    match principal {
        Principal::Anonymous(_) => RpcError::Unauthenticated { principal: name, method, role },
        // Whoever was let in to the socket by a supplementary group looks for the rule of that.
        Principal::Local { .. } => {
            let principal = format!("{name} (its primary group)");
            RpcError::Denied { principal, method, role }
        }
        Principal::Certificate(_) => RpcError::Denied { principal: name, method, role },
    }
}
