//! The client library and the command line against an agent made up in this process.

#![expect(clippy::unwrap_used, reason = "tests say what they expect by unwrapping it")]

mod agent;
mod command;
mod exits;
mod health;
mod library;
mod node;
mod resuming;
mod watching;
