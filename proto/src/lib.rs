//! The contract of taskstatsd, package `taskstats.v1`: generated message types, client and server
//! trait, and the descriptor set for reflection.
//!
//! The proto file, `taskstats/v1/taskstats.proto`, documents the unit of each field, the meaning of its
//! absence, and the status codes of each call. The generated code is part of the repository;
//! `tests/generated.rs` describes how to regenerate it.
//!
//! ```
//! use taskstats_proto::v1::TaskStats;
//!
//! let stats = TaskStats { elapsed_us: Some(65_000_000), ..TaskStats::default() };
//! assert!(stats.memory.is_none());
//! ```

mod codec;
mod encoded;

pub use codec::{ReservingCodec, ReservingEncoder};
pub use encoded::{Encoded, EncodedGetPidResponse, EncodedWatchExitsResponse};

/// The messages and the client of the package `taskstats.v1`.
#[allow(missing_docs, clippy::all, clippy::doc_markdown, rustdoc::all, reason = "generated")]
pub mod v1 {
    include!("generated/taskstats.v1.rs");
}

/// The server trait of the package `taskstats.v1`, which sends some messages as [`Encoded`].
#[allow(missing_docs, clippy::all, clippy::doc_markdown, rustdoc::all, reason = "generated")]
pub mod server {
    include!("generated/taskstats.v1.server.rs");

    pub use taskstats_service_server::{TaskstatsService, TaskstatsServiceServer};
}

/// The full name of the service, in calls and in health checks.
pub const SERVICE_NAME: &str = "taskstats.v1.TaskstatsService";

/// The encoded `FileDescriptorSet` of the contract and of its imports, for server reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!("generated/taskstats.v1.bin");
