//! The file descriptors and the memory that the agent can need, and the limits of the system.

mod fd_budget;
mod memory_bound;
mod memory_limit;

pub(crate) use self::fd_budget::{
    FdDemand, fit_to_fd_limit, hard_limit, max_handshakes, raise_fd_limit,
};
pub use self::memory_bound::MemoryBound;
pub(crate) use self::memory_bound::{number, receive_buffers};
pub(crate) use self::memory_limit::MemoryLimit;
