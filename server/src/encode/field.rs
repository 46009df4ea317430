//! Field numbers of `proto/taskstats/v1/taskstats.proto`, by message.
//!
//! The contract fixes them for good. A wrong one fails the tests of the conversions, which compare
//! what the encoder writes with what the generated types read.

pub(crate) mod watch_exits_response {
    pub(crate) const EVENTS: u8 = 2;
}

pub(crate) mod exit_events {
    pub(crate) const EVENTS: u8 = 1;
    pub(crate) const CURSOR: u8 = 2;
}

pub(crate) mod get_pid_response {
    pub(crate) const STATS: u8 = 1;
}

pub(crate) mod exit_event {
    pub(crate) const SEQUENCE: u8 = 1;
    pub(crate) const CPU: u8 = 2;
    pub(crate) const KERNEL_SEQUENCE: u8 = 3;
    pub(crate) const RECEIVED_AT: u8 = 4;
    pub(crate) const TASK: u8 = 5;
    pub(crate) const PROCESS: u8 = 6;
    pub(crate) const LAST_IN_PROCESS: u8 = 7;
    pub(crate) const CGROUP_ID: u8 = 8;
    pub(crate) const HIERARCHY: u8 = 9;
    pub(crate) const ATTRIBUTION: u8 = 10;
    pub(crate) const EXIT_TIME: u8 = 14;
    pub(crate) const PROCESS_TOTALS: u8 = 15;
}

pub(crate) mod process_totals {
    pub(crate) const CPU: u8 = 1;
    pub(crate) const FAULTS: u8 = 2;
    pub(crate) const MEMORY: u8 = 3;
    pub(crate) const IO: u8 = 4;
    pub(crate) const CONTEXT_SWITCHES: u8 = 5;
    pub(crate) const DELAYS: u8 = 6;
    pub(crate) const THREADS: u8 = 7;
    pub(crate) const COMPLETE: u8 = 8;
}

pub(crate) mod task_stats {
    pub(crate) const TASKSTATS_VERSION: u8 = 1;
    pub(crate) const IDENTITY: u8 = 2;
    pub(crate) const EXIT: u8 = 3;
    pub(crate) const CPU: u8 = 4;
    pub(crate) const ELAPSED_US: u8 = 5;
    pub(crate) const GROUP_ELAPSED_US: u8 = 6;
    pub(crate) const FAULTS: u8 = 7;
    pub(crate) const MEMORY: u8 = 8;
    pub(crate) const IO: u8 = 9;
    pub(crate) const CONTEXT_SWITCHES: u8 = 10;
    pub(crate) const DELAYS: u8 = 11;
    pub(crate) const DELAY_ACCOUNTING: u8 = 12;
    pub(crate) const EXECUTABLE: u8 = 13;
    pub(crate) const UNKNOWN_TAIL: u8 = 14;
}

pub(crate) mod identity {
    pub(crate) const PID: u8 = 1;
    pub(crate) const TGID: u8 = 2;
    pub(crate) const PPID: u8 = 3;
    pub(crate) const UID: u8 = 4;
    pub(crate) const GID: u8 = 5;
    pub(crate) const COMM: u8 = 6;
    pub(crate) const NICE: u8 = 7;
    pub(crate) const SCHEDULER: u8 = 8;
    pub(crate) const FLAGS: u8 = 9;
    pub(crate) const BEGIN_TIME: u8 = 10;
}

pub(crate) mod exit_status {
    pub(crate) const RAW_STATUS: u8 = 1;
    pub(crate) const CODE: u8 = 2;
    pub(crate) const SIGNAL: u8 = 3;
    pub(crate) const CORE_DUMPED: u8 = 4;
}

pub(crate) mod cpu_time {
    pub(crate) const USER_US: u8 = 1;
    pub(crate) const SYSTEM_US: u8 = 2;
    pub(crate) const USER_SCALED_US: u8 = 3;
    pub(crate) const SYSTEM_SCALED_US: u8 = 4;
    pub(crate) const RUN_REAL_NS: u8 = 5;
    pub(crate) const RUN_VIRTUAL_NS: u8 = 6;
    pub(crate) const RUN_REAL_SCALED_NS: u8 = 7;
}

pub(crate) mod faults {
    pub(crate) const MINOR: u8 = 1;
    pub(crate) const MAJOR: u8 = 2;
}

pub(crate) mod memory {
    pub(crate) const RSS_INTEGRAL_MB_US: u8 = 1;
    pub(crate) const VM_INTEGRAL_MB_US: u8 = 2;
    pub(crate) const PEAK_RSS_KIB: u8 = 3;
    pub(crate) const PEAK_VM_KIB: u8 = 4;
}

pub(crate) mod io {
    pub(crate) const READ_CHARS_BYTES: u8 = 1;
    pub(crate) const WRITE_CHARS_BYTES: u8 = 2;
    pub(crate) const READ_SYSCALLS: u8 = 3;
    pub(crate) const WRITE_SYSCALLS: u8 = 4;
    pub(crate) const READ_BYTES: u8 = 5;
    pub(crate) const WRITE_BYTES: u8 = 6;
    pub(crate) const CANCELLED_WRITE_BYTES: u8 = 7;
}

pub(crate) mod context_switches {
    pub(crate) const VOLUNTARY: u8 = 1;
    pub(crate) const INVOLUNTARY: u8 = 2;
}

pub(crate) mod delays {
    use crate::taskstats::DelayClass;

    /// By [`DelayClass`].
    pub(crate) const CLASSES: [u8; DelayClass::COUNT] = [1, 2, 3, 4, 5, 6, 7, 8];
}

pub(crate) mod delay {
    pub(crate) const COUNT: u8 = 1;
    pub(crate) const TOTAL_NS: u8 = 2;
    pub(crate) const MAX_NS: u8 = 3;
    pub(crate) const MIN_NS: u8 = 4;
    pub(crate) const MAX_AT: u8 = 5;
}

pub(crate) mod delay_accounting {
    pub(crate) const ON: u64 = 1;
    pub(crate) const OFF: u64 = 2;
    pub(crate) const UNKNOWN: u64 = 3;
    pub(crate) const PARTIAL: u64 = 4;
}

pub(crate) mod executable {
    pub(crate) const DEVICE: u8 = 1;
    pub(crate) const INODE: u8 = 2;
}

/// Of `google/protobuf/timestamp.proto`.
pub(crate) mod timestamp {
    pub(crate) const SECONDS: u8 = 1;
    pub(crate) const NANOS: u8 = 2;
}

pub(crate) mod attribution {
    pub(crate) const EXACT: u64 = 1;
    pub(crate) const OBSERVED: u64 = 2;
    pub(crate) const INFERRED: u64 = 3;
    pub(crate) const GUESS: u64 = 4;
}

pub(crate) mod hierarchy {
    pub(crate) const V2: u64 = 1;
    pub(crate) const V1: u64 = 2;
}
