//! The gRPC services, and the conversion between their messages and domain types.

mod certificates;
mod convert;
mod error;
mod failures;
mod frame;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod health;
mod node;
mod queries;
mod redact;
mod request;
mod routes;
mod service;
mod slow_call;
mod statistics;
mod stream;
mod turns;
mod workload;

pub(crate) use error::RpcError;
pub(crate) use health::Health;
pub(crate) use node::{AttributionReport, Node, NodeError};
pub(crate) use routes::{SMALL_REQUEST, routes};
pub(crate) use service::Service;
