//! Client of taskstatsd, the node agent that serves the Linux kernel's per-task statistics (taskstats).
//!
//! A [`Client`] queries the statistics of live tasks, and opens streams of exits. An [`Error`] has a
//! variant for each reason that a call fails for. The messages are those of the contract, package
//! `taskstats.v1`: the module [`proto`] re-exports them, with the unit of each field and the meaning
//! of its absence.
//!
//! ```no_run
//! use taskstats_client::{Client, Event, Scope, WatchRequest};
//!
//! # async fn example() -> Result<(), taskstats_client::Error> {
//! let client = Client::connect("unix:///run/taskstatsd/taskstatsd.sock").await?;
//!
//! let stats = client.pid(std::process::id()).await?;
//! println!("{:?}", stats.cpu);
//!
//! let mut exits = client.watch(WatchRequest::new().scope(Scope::Processes)).await?;
//! while let Some(event) = exits.next().await {
//!     match event? {
//!         Event::Exits(batch) => println!("{} processes exited", batch.events.len()),
//!         Event::Lost(lost) => println!("{:?} exits were lost", lost.count),
//!         _ => {}
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! The feature `cli`, which is on by default, adds the `taskstatsctl` command line.

mod builder;
mod client;
mod error;
mod exit_stream;
mod status;
mod target;
mod tls;
mod tls_failure;
mod watch_request;
mod workloads;

#[cfg(feature = "cli")]
pub mod cli;

pub use builder::{ClientBuilder, DEFAULT_CONNECT_TIMEOUT, DEFAULT_DEADLINE};
pub use client::{BatchEntry, Client, MAX_BATCH, Process, Task, TaskId, Threads};
pub use error::Error;
pub use exit_stream::{Event, ExitStream};
pub use target::{DEFAULT_PORT, InvalidTarget, Target};
pub use taskstats_proto::v1 as proto;
pub use taskstats_proto::v1::{
    Attribution, Cursor, DelayAccounting, ExitEvent, ExitEvents, GetNodeResponse, Heartbeat, Lost,
    LostStage, OnLag, Scope, TaskStats, WatchStarted, Workload, Workloads,
};
pub use tls_failure::TlsFailure;
pub use tonic::Code;
pub use tonic_health::pb::health_check_response::ServingStatus;
pub use watch_request::WatchRequest;
pub use workloads::{Owner, WorkloadTable};
