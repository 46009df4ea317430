//! The harness of the tests that span crates: it starts the real agent, makes tasks exit, and
//! queries the kernel by code that shares nothing with the agent's.
//!
//! All functions return errors instead of panicking, so that a test can add its context.

pub mod agent;
pub mod binaries;
pub mod caller;
pub mod certificates;
pub mod cgroup;
pub mod churn;
pub mod client;
pub mod cpus;
pub mod deadline;
pub mod delay_accounting;
pub mod detailed_status;
pub mod directory;
pub mod environments;
pub mod exit_log;
pub mod fields;
pub mod follower;
pub mod gap_ranges;
pub mod guarded_child;
pub mod handshake;
pub mod health;
pub mod http2;
pub mod injector;
pub mod kernel;
pub mod machine_lock;
pub mod mount;
pub mod notify;
pub mod partial_decode;
pub mod peer;
pub mod process;
pub mod random;
pub mod selection;
pub mod sequence_check;
pub mod service_manager;
pub mod stitched_stream;
pub mod tls_fixture;
pub mod tools;
pub mod user;
pub mod watch;
pub mod workload;
