//! The gRPC service: requests in, kernel and exits asked, answers out.

mod certificates;
mod convert;
mod error;
mod failures;
mod frame;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod gate;
mod health;
mod node;
mod redact;
mod request;
mod service;
mod slow_call;
mod statistics;
mod stream;

pub use error::RpcError;
pub use gate::{Activity, CallSize, Gate, ResponseBody, SMALL_REQUEST, with_send_timeout};
pub use health::{Health, HealthChecks};
pub use node::{Node, NodeError};
pub use service::Service;
