//! The file descriptors and the memory that the agent can need, and what the system grants of them.

mod fd_budget;
mod memory_bound;
mod memory_limit;

pub use self::fd_budget::{
    FdDemand, FdPlan, FdShortage, fit_to_fd_limit, hard_limit, raise_fd_limit,
};
pub use self::memory_bound::MemoryBound;
pub(crate) use self::memory_bound::{number, receive_buffers};
pub(crate) use self::memory_limit::MemoryLimit;
