//! The taskstatsd node agent, lowest layer first: [`netlink`], [`taskstats`], [`exits`], [`security`],
//! [`sandbox`], [`rpc`], [`listen`], [`agent`]. Beside them: [`inherit`],
//! [`notify`] and [`handover`], for a service manager.

pub mod agent;
pub mod config;
pub mod exits;
pub mod handover;
pub mod inherit;
pub mod listen;
pub mod netlink;
pub mod notify;
pub mod rpc;
pub mod sandbox;
pub mod security;
pub mod taskstats;
