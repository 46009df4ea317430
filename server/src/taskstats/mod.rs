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
mod process_totals;
pub(crate) mod reply;
mod stats;
pub(crate) mod wire;

pub use cpumask::Cpumask;
pub(crate) use cpumask::CpumaskError;
#[cfg(test)]
pub(crate) use decode::swapped::{decode_swapped, swap};
#[cfg(test)]
#[cfg(feature = "sim")]
pub(crate) use decode::tests::{expected, raw};
pub use decode::{Provenance, decode};
pub(crate) use delay_accounting::ClockSteps;
pub(crate) use delay_accounting::DelayCoverage;
pub use delay_accounting::{DelayAccounting, Since};
pub(crate) use drain::Attributor;
pub(crate) use drain::MessageSink;
pub(crate) use exit::{Attribution, Owner};
pub use exit::{Exit, WaitStatus};
pub(crate) use kernel::Namespace;
pub use kernel::{
    BrokerError, Depth, Drained, ExitListener, ExitSink, KeptSocket, Kernel, KernelError, SelfTest,
    TaskId, Wake,
};
#[cfg(test)]
pub(crate) use known_bad::KNOWN_BAD_KERNELS;
pub(crate) use known_bad::KnownBad;
pub use linux::LinuxKernel;
pub(crate) use linux::{Placement, RawListener};
pub use process_totals::ProcessTotals;
#[cfg(any(test, feature = "sim"))]
pub(crate) use stats::Extremes;
pub(crate) use stats::{
    Comm, ContextSwitches, CpuTime, Delay, Executable, Faults, Identity, Io, Memory, TaskIdentity,
};
pub use stats::{DelayClass, Stats};
pub use wire::{decode_exit_message, decode_reply_message};
