//! Why a capture cannot be read or taken.

use std::io;
use std::path::PathBuf;

use super::format::{FORMAT, MAX_MESSAGE_BYTES};
use crate::advice::HasCause;
use crate::taskstats::{CpumaskError, KernelError};

/// Why a file is not, or no longer, a capture.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It begins with something else.
    #[error("this is no capture: it does not begin as one")]
    NotACapture,
    /// A later build wrote it.
    #[error("the capture has format {0}, and this build reads format {FORMAT} only")]
    UnknownFormat(u16),
    /// The messages in it have the other byte order.
    #[error("the capture was taken on a machine of the other byte order")]
    OtherByteOrder,
    /// It ends too early, as when its disk was full or its writer was killed.
    #[error("the capture ends inside its {0}")]
    Truncated(&'static str),
    /// A checksum says so.
    #[error("the capture is damaged: the checksum of its {0} does not match")]
    Damaged(&'static str),
    /// An entry of no known kind.
    #[error("the capture has an entry of kind {0}, which format {FORMAT} does not know")]
    UnknownKind(u8),
    /// A message that no kernel sends.
    #[error("the capture has an entry of {0} bytes, and messages have {MAX_MESSAGE_BYTES} at most")]
    TooLong(u32),
    /// The contents of a part are not what its checksum covers by right.
    #[error("the capture's {0} makes no sense")]
    Malformed(&'static str),
    /// The end counts other entries than there are.
    #[error("the capture lacks entries: its end counts others than it has")]
    Miscounted,
    /// Reading failed.
    #[error("reading the capture failed: {0}")]
    Io(#[source] io::Error),
}

/// Why no capture could be taken.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The list of CPUs cannot be used.
    #[error("--cpus: {0}")]
    Cpus(#[source] CpumaskError),
    /// The kernel refused.
    #[error("{}", .0.advised())]
    Kernel(#[from] KernelError),
    /// The file is there already, and might be needed.
    #[error("--output {path} exists already; remove it, or choose another name", path = .0.display())]
    Exists(PathBuf),
    /// The file cannot be made.
    #[error("--output {path} cannot be made: {source}", path = path.display())]
    Output {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Standard output is a terminal.
    #[error(
        "a capture is no text for a terminal; use --output FILE, or redirect the standard output"
    )]
    Terminal,
    /// A write failed. What was written before can be read up to there.
    #[error("writing the capture failed: {0}")]
    Write(#[source] io::Error),
    /// The output blocks, such as a pipe that nobody reads.
    #[error(
        "the output does not take what is written: the capture is incomplete, and can be read up to \
         where it ends"
    )]
    Stuck,
    /// The thread that records is gone.
    #[error("the recording thread ended without a word")]
    Abandoned,
}
