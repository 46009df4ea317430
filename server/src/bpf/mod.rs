//! An eBPF socket filter that attributes exits, without a compiler or a loader.
//!
//! The kernel sends an exit message from inside the exiting task (`taskstats_exit` in
//! `kernel/taskstats.c`) and passes it through the filter of the receiving socket (`sk_filter` in
//! `net/netlink/af_netlink.c`). A program attached there runs with the exiting task as `current`. It
//! stores the task's cgroup under the message's sequence number in memory that the agent maps, so an
//! exit is attributed without a system call and without a race.
//!
//! `program` assembles the instructions, `syscall` loads them with `bpf(2)`, `btf` reads the
//! offsets of kernel structures where no helper returns the cgroup, and `slots` reads the results.

mod assembler;
mod btf;
mod layout;
mod loader;
mod program;
mod slots;
mod syscall;

pub(crate) use self::layout::filter_bytes;
pub(crate) use self::loader::{FilterError, FilterSet, Method};
pub use self::slots::CgroupLosses;
pub(crate) use self::slots::{CgroupId, Hierarchy, KeptSlots, Slots};

#[cfg(test)]
mod tests;
