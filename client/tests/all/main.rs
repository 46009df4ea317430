//! The client library and the command line, against a scripted agent in this process.

#![expect(clippy::unwrap_used, reason = "an unwrap in a test is an assertion")]

mod command;
mod environment;
mod generate;
mod health;
mod history;
mod library;
mod node;
mod output;
mod reconnect;
mod records;
mod scripted_agent;
mod watch;
