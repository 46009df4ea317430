//! What the kernel says of tasks, in domain types.

mod stats;

pub use stats::{
    Comm, ContextSwitches, CpuTime, Delay, DelayAccounting, DelayClass, Executable, Extremes,
    Faults, Identity, Io, Memory, Stats, TaskIdentity,
};
