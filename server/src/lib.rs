//! The taskstatsd node agent, lowest layer first: [`netlink`], [`taskstats`], [`exits`], [`rpc`],
//! [`listen`], [`agent`].

pub mod agent;
pub mod config;
pub mod exits;
pub mod listen;
pub mod netlink;
pub mod rpc;
pub mod taskstats;
