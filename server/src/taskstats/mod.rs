//! What the kernel says of tasks, in domain types, and the seam behind which it is asked.

mod build;
mod cpumask;
mod decode;
mod delay_accounting;
mod exit;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod kernel;
mod known_bad;
mod layout;
mod linux;
mod queue;
mod reply;
pub mod sim;
mod stats;
mod wire;

pub use build::build;
pub use cpumask::{Cpumask, CpumaskError};
#[cfg(test)]
pub(crate) use decode::swapped::{decode_swapped, swap};
pub use decode::{Provenance, decode};
pub use delay_accounting::{Began, DelayAccounting, DelayCoverage, Since};
pub use exit::{Exit, WaitStatus};
pub use kernel::{
    Depth, Drained, ExitSink, KeptSocket, Kernel, KernelError, Listener, Namespace, SelfTest,
    TaskId, Wake,
};
pub use known_bad::{KNOWN_BAD_KERNELS, KnownBad};
pub use linux::{LinuxKernel, Placement, RawListener};
pub use queue::MessageSink;
pub use stats::{
    Comm, ContextSwitches, CpuTime, Delay, DelayClass, Executable, Extremes, Faults, Identity, Io,
    Memory, Stats, TaskIdentity,
};
pub use wire::{decode_exit_message, decode_reply_message, exit_message};
