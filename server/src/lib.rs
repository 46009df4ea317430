//! The taskstatsd node agent, lowest layer first: [`netlink`], [`taskstats`], [`exits`],
//! [`readiness`], [`security`], [`sandbox`], [`rpc`], [`listen`], [`serve`], [`config`], [`doctor`],
//! [`agent`]. Beside them: [`inherit`], [`notify`] and [`handover`], for a service manager; [`capture`],
//! which keeps the kernel's messages in a file; [`clocks`], [`descriptors`], [`telemetry`], and
//! [`worker`].

pub mod agent;
pub mod bpf;
pub mod capture;
pub mod clocks;
pub mod config;
pub mod descriptors;
pub mod doctor;
pub mod exits;
pub mod handover;
pub mod inherit;
pub mod listen;
pub mod netlink;
pub mod notify;
pub mod readiness;
pub mod rpc;
pub mod sandbox;
pub mod security;
pub mod serve;
pub mod taskstats;
pub mod telemetry;
pub mod worker;

#[cfg(test)]
mod seeds;
