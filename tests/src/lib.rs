//! The harness of the tests that span crates: it starts the real agent, makes tasks exit, and asks
//! the kernel itself, by code that shares nothing with the agent's.
//!
//! Everything here returns errors instead of panicking, so that a test can say what it wanted.

pub mod accounting;
pub mod agent;
pub mod binaries;
pub mod caller;
pub mod certificates;
pub mod cgroup;
pub mod chance;
pub mod churn;
pub mod client;
pub mod cpus;
pub mod deadline;
pub mod fields;
pub mod folder;
pub mod follow;
pub mod handshake;
pub mod health;
pub mod http2;
pub mod journal;
pub mod kernel;
pub mod ledger;
pub mod load;
pub mod manager;
pub mod mount;
pub mod notify;
pub mod peer;
pub mod place;
pub mod process;
pub mod refusal;
pub mod scene;
pub mod selection;
pub mod slim;
pub mod span;
pub mod tools;
pub mod trail;
pub mod user;
pub mod watch;
pub mod workload;
