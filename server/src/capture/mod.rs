//! Captures: the kernel's messages in a file, for later inspection, other machines, and tests.
//!
//! A capture is a [`CaptureHeader`], then a sequence of [`CaptureEntry`], then an end with their
//! counts. All numbers are little-endian, except those inside messages, which have the byte order of
//! the recording machine; the header states it.
//!
//! | part | bytes |
//! | --- | --- |
//! | header | magic `TSTATCAP`, format u16, byte order mark u16 (host order), taskstats version u16, start u64 (ns since the Unix epoch), kernel release and list of CPUs (each u16 length, UTF-8), checksum |
//! | entry | kind u8 (1 exit, 2 reply for a pid, 3 reply for a tgid, 4 drops), CPU or id u32, time u64 (ns since the Unix epoch), length u32, the message (drops: count u64), checksum |
//! | end | an entry of kind 0: number of exits u64, of replies u64, of drops u64 |
//!
//! A checksum is the CRC-32 (u32) of its part.

mod error;
mod format;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod reader;
mod recorder;
mod writer;

#[cfg(any(test, fuzzing))]
pub(crate) use error::ReadError;
pub(crate) use error::RecordError;
pub(crate) use format::CaptureTotals;
pub use format::{CaptureEntry, CaptureHeader};
pub use reader::CaptureReader;
pub(crate) use recorder::{CapturePlan, Recorder, record};
pub use writer::CaptureWriter;

#[cfg(test)]
mod tests;
