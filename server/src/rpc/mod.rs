//! The gRPC service: requests in, kernel and exits asked, answers out.

mod accounts;
mod convert;
mod error;
mod frame;
mod node;
mod request;
mod service;
mod stream;

pub use error::RpcError;
pub use node::{Node, NodeError};
pub use service::{Limits, Service};
