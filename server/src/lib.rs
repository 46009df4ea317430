//! The taskstatsd node agent, lowest layer first: [`netlink`], [`taskstats`].

pub mod netlink;
pub mod taskstats;
