//! Bytes between the stream and its reader.

use tokio::io::ReadBuf;

/// Bytes that were read and not delivered: first those that may be delivered, then those of a value that
/// is incomplete.
#[derive(Debug, Default)]
pub(super) struct Held {
    bytes: Vec<u8>,
    /// The number of bytes that may be delivered.
    released: usize,
}

impl Held {
    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Holds bytes of an incomplete value, when nothing else is held.
    pub(super) fn hold(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Adds bytes, when none may be delivered, and returns the offset of the first one.
    pub(super) fn append(&mut self, bytes: &[u8]) -> usize {
        let from = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        from
    }

    /// Returns all bytes, when none may be delivered.
    pub(super) fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }

    /// Allows the first `count` bytes to be delivered.
    pub(super) fn release(&mut self, count: usize) {
        self.released = count;
    }

    /// Allows all bytes to be delivered.
    pub(super) fn release_all(&mut self) {
        self.released = self.bytes.len();
    }

    /// Moves released bytes into `buffer`. Returns false when there are none.
    pub(super) fn deliver(&mut self, buffer: &mut ReadBuf<'_>) -> bool {
        if self.released == 0 {
            return false;
        }
        let count = self.released.min(buffer.remaining());
        buffer.put_slice(&self.bytes[..count]);
        self.bytes.drain(..count);
        self.released -= count;
        if self.bytes.is_empty() {
            // Reads that split a value are rare: a connection keeps no memory for the next one.
            self.bytes = Vec::new();
        }
        true
    }
}
