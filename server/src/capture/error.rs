//! Errors of reading and recording captures.

use std::io;
use std::path::PathBuf;

use super::format::{FORMAT, MAX_MESSAGE_BYTES};
use crate::advice::HasCause;
use crate::taskstats::{CpumaskError, KernelError};

/// The error of reading a capture.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The file does not start like a capture.
    #[error("not a capture: the first bytes are wrong")]
    NotACapture,
    /// A newer program wrote it.
    #[error("the capture has format {0}; this program reads format {FORMAT} only")]
    UnknownFormat(u16),
    /// The messages have the other byte order.
    #[error("the capture was recorded on a machine of the other byte order")]
    OtherByteOrder,
    /// The file ends early, for example because the disk was full or the writer was killed.
    #[error("the capture is truncated in its {0}")]
    Truncated(&'static str),
    /// A checksum does not match.
    #[error("the capture is damaged: the checksum of its {0} does not match")]
    Damaged(&'static str),
    /// An entry has an unknown kind.
    #[error("the capture has an entry of kind {0}, which format {FORMAT} does not have")]
    UnknownKind(u8),
    /// A message is longer than a kernel's.
    #[error("the capture has an entry of {0} bytes, but messages have at most {MAX_MESSAGE_BYTES}")]
    TooLong(u32),
    /// A part has a valid checksum and invalid content.
    #[error("the content of the capture's {0} is invalid")]
    Malformed(&'static str),
    /// The counts at the end differ from the entries.
    #[error("the capture lacks entries: their number differs from the count at its end")]
    Miscounted,
    /// Reading failed.
    #[error("cannot read the capture: {0}")]
    Io(#[source] io::Error),
}

/// The error of recording a capture.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The list of CPUs is invalid.
    #[error("--cpus: {0}")]
    Cpus(#[source] CpumaskError),
    /// The kernel refused.
    #[error("{}", .0.advised())]
    Kernel(#[from] KernelError),
    /// The output file exists.
    #[error("--output {path} already exists; remove it or choose another name", path = .0.display())]
    Exists(PathBuf),
    /// The output file cannot be created.
    #[error("--output {path} cannot be created: {source}", path = path.display())]
    Output {
        /// The file.
        path: PathBuf,
        /// The error of the system.
        source: io::Error,
    },
    /// Standard output is a terminal.
    #[error(
        "a capture is binary and is not written to a terminal; use --output FILE or redirect standard output"
    )]
    Terminal,
    /// Writing failed. The entries before the failure can be read.
    #[error("cannot write the capture: {0}")]
    Write(#[source] io::Error),
    /// The output blocks, for example a pipe whose reader has stopped.
    #[error("the output is blocked: the capture is incomplete, and can be read up to its end")]
    Stuck,
    /// The recording thread panicked.
    #[error("the recording thread panicked")]
    Abandoned,
}
