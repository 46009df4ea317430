//! The taskstatsd node agent. A module uses only the modules that are declared above it in this file,
//! which `tests/layers.rs` checks. The blank lines keep rustfmt from sorting the declarations.

#[cfg(test)]
mod seeds;

pub(crate) mod clock;

pub(crate) mod telemetry;

pub(crate) mod worker;

pub(crate) mod regular_file;

pub(crate) mod directory_trust;

pub(crate) mod backoff;

pub(crate) mod signals;

pub(crate) mod netlink;

pub mod bpf;

pub mod taskstats;

pub(crate) mod advice;

#[cfg(feature = "sim")]
pub mod sim;

pub mod capture;

pub(crate) mod workload;

pub mod encode;

pub mod exits;

pub(crate) mod readiness;

pub(crate) mod security;

pub mod sandbox;

pub mod rpc;

pub(crate) mod inherit;

pub(crate) mod notify;

pub mod handover;

pub mod listen;

pub(crate) mod serve;

pub mod config;

pub mod capacity;

pub(crate) mod doctor;

pub mod agent;

pub mod program;
