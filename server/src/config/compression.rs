//! The compression of responses.

use clap::ValueEnum;
use tonic::codec::CompressionEncoding;

/// How responses are compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Compression {
    /// Not at all.
    #[default]
    None,
    /// By gzip, if the client accepts it.
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
