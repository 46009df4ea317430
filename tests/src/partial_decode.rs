//! The messages of an exit stream without the statistics, so that a test process can decode many
//! streams at full speed. The field numbers are those of the contract.

use taskstats_proto::v1::{Cursor, Heartbeat, Lost, WatchStarted, Workloads};

/// `WatchExitsResponse`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Response {
    /// The kind of the message.
    #[prost(oneof = "Kind", tags = "1, 2, 3, 4, 5")]
    pub kind: Option<Kind>,
}

/// `WatchExitsResponse.kind`.
#[derive(Clone, PartialEq, prost::Oneof)]
pub enum Kind {
    /// The first message.
    #[prost(message, tag = "1")]
    Started(WatchStarted),
    /// Exits.
    #[prost(message, tag = "2")]
    Events(Events),
    /// A loss.
    #[prost(message, tag = "3")]
    Lost(Lost),
    /// A sign of life.
    #[prost(message, tag = "4")]
    Heartbeat(Heartbeat),
    /// Owners of cgroups.
    #[prost(message, tag = "5")]
    Workloads(Workloads),
}

/// `ExitEvents`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Events {
    /// The exits.
    #[prost(message, repeated, tag = "1")]
    pub events: Vec<Event>,
    /// The cursor after them.
    #[prost(message, optional, tag = "2")]
    pub cursor: Option<Cursor>,
}

/// `ExitEvent`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Event {
    /// Number of the exit.
    #[prost(uint64, tag = "1")]
    pub sequence: u64,
    /// The CPU.
    #[prost(uint32, tag = "2")]
    pub cpu: u32,
    /// Number of the kernel's message.
    #[prost(uint32, tag = "3")]
    pub kernel_sequence: u32,
    /// The task.
    #[prost(message, optional, tag = "5")]
    pub task: Option<Task>,
    /// True if the process ended with the task.
    #[prost(bool, optional, tag = "7")]
    pub last_in_process: Option<bool>,
}

/// `TaskStats`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Task {
    /// The ids of the task.
    #[prost(message, optional, tag = "2")]
    pub identity: Option<Identity>,
}

/// `Identity`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Identity {
    /// The task's id.
    #[prost(uint32, optional, tag = "1")]
    pub pid: Option<u32>,
    /// Its process' id.
    #[prost(uint32, optional, tag = "2")]
    pub tgid: Option<u32>,
}
