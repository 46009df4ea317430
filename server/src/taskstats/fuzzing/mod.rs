//! What the fuzz targets in `tests/fuzz` run, and the tests with their seeds: each function takes any
//! bytes and panics when they are not dealt with as they should be. Not part of the agent.

mod cpumask;
mod datagram;
mod record;

pub use cpumask::cpumask;
pub use datagram::datagram;
pub use record::record;
