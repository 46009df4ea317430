//! The functions that the fuzz targets in `tests/fuzz` call, and the tests with their seeds. Each
//! function accepts arbitrary bytes and panics if they are handled wrongly. The agent does not
//! contain them.

mod cpumask;
mod datagram;
mod record;

pub use cpumask::cpumask;
pub use datagram::datagram;
pub use record::record;
