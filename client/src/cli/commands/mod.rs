//! The subcommands, one module each.

pub(crate) mod generate;
pub(crate) mod get;
pub(crate) mod health;
pub(crate) mod node;
pub(crate) mod watch;
