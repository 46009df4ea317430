//! What the kernel says of tasks, in domain types, and the seam behind which it is asked.

mod build;
mod cpumask;
mod decode;
mod exit;
mod kernel;
mod layout;
mod linux;
mod queue;
mod reply;
pub mod sim;
mod stats;
mod wire;

pub use build::build;
pub use cpumask::{Cpumask, CpumaskError};
pub use decode::{Provenance, decode};
pub use exit::{Exit, WaitStatus};
pub use kernel::{
    Depth, Drained, ExitSink, KeptSocket, Kernel, KernelError, Listener, Namespace, TaskId, Wake,
};
pub use linux::LinuxKernel;
pub use stats::{
    Comm, ContextSwitches, CpuTime, Delay, DelayAccounting, DelayClass, Executable, Extremes,
    Faults, Identity, Io, Memory, Stats, TaskIdentity,
};
pub use wire::exit_message;
