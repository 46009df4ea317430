//! The compression of responses.

use clap::ValueEnum;
use tonic::codec::CompressionEncoding;

/// The value of `--compression`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Compression {
    /// No compression
    #[default]
    None,
    /// gzip, if the client accepts it
    Gzip,
}

impl Compression {
    pub(super) const fn encoding(self) -> Option<CompressionEncoding> {
        match self {
            Self::None => None,
            Self::Gzip => Some(CompressionEncoding::Gzip),
        }
    }
}
