//! The kernel's own messages in a file: to look at later, on another machine, or in a test.
//!
//! A capture is a [`CaptureHeader`], then [`CaptureEntry`] after entry, then an end that counts them. All numbers are
//! little-endian but the messages' own, which are in the order of the machine that took them; the
//! header tells that order.
//!
//! | part | bytes |
//! | --- | --- |
//! | header | magic `TSTATCAP`, format u16, byte order mark u16 (host order), taskstats version u16, begin u64 (ns since 1970), kernel release and list of CPUs (each u16 length, UTF-8), checksum |
//! | entry | kind u8 (1 exit, 2 reply for a pid, 3 reply for a tgid, 4 drops), CPU or id u32, time u64 (ns since 1970), length u32, the message (drops: count u64), checksum |
//! | end | an entry of kind 0: number of exits u64, of replies u64, of drops u64 |
//!
//! A checksum is a CRC-32 (u32) over its part.

mod error;
mod format;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod reader;
mod recorder;
mod writer;

pub use error::{ReadError, RecordError};
pub use format::{CaptureEntry, CaptureHeader, CaptureTotals};
pub use reader::CaptureReader;
pub use recorder::{CapturePlan, Recorder, Stopper, record};
pub use writer::CaptureWriter;

#[cfg(test)]
mod tests;
