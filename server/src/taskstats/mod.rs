//! The kernel's task statistics in domain types, and the interface of a kernel.

mod cpumask;
mod decode;
mod delay_accounting;
pub(crate) mod drain;
mod exit;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod kernel;
mod known_bad;
pub(crate) mod layout;
mod linux;
pub(crate) mod reply;
mod stats;
pub(crate) mod wire;

pub use cpumask::{Cpumask, CpumaskError};
#[cfg(test)]
pub(crate) use decode::swapped::{decode_swapped, swap};
#[cfg(test)]
#[cfg(feature = "sim")]
pub(crate) use decode::tests::{expected, raw};
pub use decode::{Provenance, decode};
pub(crate) use delay_accounting::ClockSteps;
pub use delay_accounting::{DelayAccounting, DelayCoverage, Since};
pub use drain::Attributor;
pub use drain::MessageSink;
pub use exit::{Attribution, Exit, Owner, WaitStatus};
pub use kernel::{
    Depth, Drained, ExitListener, ExitSink, KeptSocket, Kernel, KernelError, Namespace, SelfTest,
    TaskId, Wake,
};
pub use known_bad::{KNOWN_BAD_KERNELS, KnownBad};
pub use linux::{LinuxKernel, Placement, RawListener};
pub use stats::{
    Comm, ContextSwitches, CpuTime, Delay, DelayClass, Executable, Extremes, Faults, Identity, Io,
    Memory, Stats, TaskIdentity,
};
pub use wire::{decode_exit_message, decode_reply_message};
