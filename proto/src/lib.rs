//! The contract of taskstatsd, package `taskstats.v1`: generated message types, client and server
//! trait, and the descriptor set for reflection.
//!
//! The proto file, `taskstats/v1/taskstats.proto`, is the documentation: units, absence and status
//! codes stand there. The generated code is checked in; `tests/generated.rs` says how to renew it.

mod codec;
mod encoded;

pub use codec::{ReservingCodec, ReservingEncoder};
pub use encoded::{Encoded, EncodedGetPidResponse, EncodedWatchExitsResponse};

/// The messages and the client of package `taskstats.v1`.
#[allow(missing_docs, clippy::all, clippy::doc_markdown, rustdoc::all, reason = "generated")]
pub mod v1 {
    include!("generated/taskstats.v1.rs");
}

/// The server trait of package `taskstats.v1`, which sends some messages [`Encoded`].
#[allow(missing_docs, clippy::all, clippy::doc_markdown, rustdoc::all, reason = "generated")]
pub mod server {
    include!("generated/taskstats.v1.server.rs");

    pub use taskstats_service_server::{TaskstatsService, TaskstatsServiceServer};
}

/// The full name of the service, which is also its name in health checks.
pub const SERVICE_NAME: &str = "taskstats.v1.TaskstatsService";

/// The encoded `FileDescriptorSet` of the contract and what it imports, for server reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!("generated/taskstats.v1.bin");
