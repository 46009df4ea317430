//! HTTP/2 spoken by hand, as no library would.

use std::path::Path;

use anyhow::{Context, Result};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use crate::deadline::within;

/// What a client begins with, and its empty settings.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
/// Bytes of a frame's header: its length in three, its type, its flags, its stream in four.
const HEADER: usize = 9;
/// The headers `:method: POST`, `:scheme: http`, `:path: /` and `:authority: a` (RFC 7541, annex A).
const REQUEST: [u8; 6] = [0x83, 0x86, 0x84, 0x41, 0x01, b'a'];
/// No more headers follow.
const END_HEADERS: u8 = 4;

/// Types of frames.
pub mod frame {
    /// Begins a stream.
    pub const HEADERS: u8 = 1;
    /// Ends a stream at once.
    pub const RST_STREAM: u8 = 3;
    /// Ends the connection.
    pub const GOAWAY: u8 = 7;
    /// More headers.
    pub const CONTINUATION: u8 = 9;
}

/// A connection of which every byte is our own.
#[derive(Debug)]
pub struct Raw {
    stream: UnixStream,
}

impl Raw {
    /// Connects, and says nothing yet.
    ///
    /// # Errors
    ///
    /// Nobody listens there.
    pub async fn connect(socket: &Path) -> Result<Self> {
        Ok(Self { stream: UnixStream::connect(socket).await? })
    }

    /// Begins HTTP/2.
    ///
    /// # Errors
    ///
    /// The other side has gone.
    pub async fn begin(&mut self) -> Result<()> {
        Ok(self.stream.write_all(PREFACE).await?)
    }

    /// Sends one frame.
    ///
    /// # Errors
    ///
    /// The other side has gone.
    pub async fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Result<()> {
        let length = u32::try_from(payload.len())?.to_be_bytes();
        let mut bytes = length[1..].to_vec();
        bytes.extend([kind, flags]);
        bytes.extend(stream.to_be_bytes());
        bytes.extend(payload);
        Ok(self.stream.write_all(&bytes).await?)
    }

    /// Begins a request whose body does not come.
    ///
    /// # Errors
    ///
    /// The other side has gone.
    pub async fn request(&mut self, stream: u32) -> Result<()> {
        self.send(frame::HEADERS, END_HEADERS, stream, &REQUEST).await
    }

    /// Reads until the other side closes the connection; returns the types of the frames it sent.
    ///
    /// # Errors
    ///
    /// It does not close it.
    pub async fn to_end(mut self) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        // An end or a reset: either way the other side has let go.
        let _end = within("the connection's end", self.stream.read_to_end(&mut bytes)).await?;
        let mut frames = Vec::new();
        let mut rest = bytes.as_slice();
        while let Some((header, after)) = rest.split_at_checked(HEADER) {
            let length = u32::from_be_bytes([0, header[0], header[1], header[2]]);
            frames.push(header[3]);
            rest = after.get(usize::try_from(length)?..).context("half a frame")?;
        }
        Ok(frames)
    }
}
