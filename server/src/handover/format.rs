//! The format of the file: a checksum, then messages, each preceded by its length. Items of the history
//! are written one at a time, so that only one exists twice in memory: a history may be large.

use std::io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::mem;

use bytes::Bytes;
use crc32fast::Hasher;
use prost::Message;

use super::HandoverState;
use crate::exits::ItemSnapshot;

/// The first bytes of the file, in every version of the agent.
const NAME: &[u8; 7] = b"TSKHIST";
/// The same, followed by the version of the format.
const MAGIC: [u8; 8] = *b"TSKHIST2";
/// Bytes of the checksum that follows.
const CHECKSUM_BYTES: usize = 4;
/// Bytes of both.
const HEADER_BYTES: usize = MAGIC.len() + CHECKSUM_BYTES;
/// Bytes of a message's length, in little endian.
const LENGTH_BYTES: u64 = size_of::<u32>() as u64;

/// Writes the state: first all but its items, then item by item.
pub(super) fn write(file: &mut (impl Write + Seek), mut state: HandoverState) -> io::Result<()> {
    let items = state.history.as_mut().map(|history| mem::take(&mut history.items));
    let mut body =
        MessageWriter { file: BufWriter::new(file), checksum: Hasher::new(), buffer: Vec::new() };
    // Replaced when the checksum is known.
    body.file.write_all(&[0; HEADER_BYTES])?;
    body.message(&state)?;
    for item in items.into_iter().flatten() {
        body.message(&item)?;
    }
    let MessageWriter { mut file, checksum, .. } = body;
    file.seek(SeekFrom::Start(0))?;
    file.write_all(&header(checksum))?;
    file.flush()
}

/// Reads a file that [`write()`] wrote. The first pass verifies the checksum, and only the second decodes:
/// a damaged length could otherwise allocate any amount of memory.
pub(super) fn read(file: &mut (impl Read + Seek)) -> Result<HandoverState, FormatError> {
    let mut found = [0; HEADER_BYTES];
    file.read_exact(&mut found)?;
    if found[..NAME.len()] == *NAME && found[..MAGIC.len()] != MAGIC {
        return Err(FormatError::OtherVersion);
    }
    let mut sum = ChecksumWriter(Hasher::new());
    let left = io::copy(file, &mut sum)?;
    if found != header(sum.0) {
        return Err(FormatError::Damaged);
    }
    file.seek(SeekFrom::Start(HEADER_BYTES as u64))?;
    let mut body = MessageReader { file: BufReader::new(file), left };
    let mut state: HandoverState = body.message()?.ok_or(FormatError::Damaged)?;
    let mut items: Vec<ItemSnapshot> = Vec::new();
    while let Some(item) = body.message()? {
        items.push(item);
    }
    match &mut state.history {
        Some(history) if history.items.is_empty() => history.items = items,
        None if items.is_empty() => {}
        Some(_) | None => return Err(FormatError::Damaged),
    }
    Ok(state)
}

/// A file that cannot be read.
#[derive(Debug)]
pub(super) enum FormatError {
    /// The system refused.
    System(io::Error),
    /// Another version of the agent wrote it, in another format.
    OtherVersion,
    /// The content was changed or is incomplete.
    Damaged,
}

impl From<io::Error> for FormatError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => Self::Damaged,
            _ => Self::System(error),
        }
    }
}

/// Computes the checksum of the bytes that are written to it.
struct ChecksumWriter(Hasher);

impl Write for ChecksumWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct MessageWriter<W: Write> {
    file: BufWriter<W>,
    checksum: Hasher,
    /// For one message after the other.
    buffer: Vec<u8>,
}

impl<W: Write> MessageWriter<W> {
    fn message(&mut self, message: &impl Message) -> io::Result<()> {
        self.buffer.clear();
        message.encode(&mut self.buffer)?;
        let length = u32::try_from(self.buffer.len()).map_err(io::Error::other)?.to_le_bytes();
        for bytes in [&length[..], &self.buffer] {
            self.checksum.update(bytes);
            self.file.write_all(bytes)?;
        }
        Ok(())
    }
}

struct MessageReader<R> {
    file: BufReader<R>,
    /// Bytes of the file.
    left: u64,
}

impl<R: Read> MessageReader<R> {
    /// The next message; `None` at the end.
    fn message<M: Message + Default>(&mut self) -> Result<Option<M>, FormatError> {
        if self.left == 0 {
            return Ok(None);
        }
        let mut length = [0; size_of::<u32>()];
        self.file.read_exact(&mut length)?;
        let taken = LENGTH_BYTES + u64::from(u32::from_le_bytes(length));
        self.left = self.left.checked_sub(taken).ok_or(FormatError::Damaged)?;
        let mut message = vec![0; u32::from_le_bytes(length) as usize];
        self.file.read_exact(&mut message)?;
        M::decode(Bytes::from(message)).map(Some).map_err(|_| FormatError::Damaged)
    }
}

fn header(checksum: Hasher) -> [u8; HEADER_BYTES] {
    let mut header = [0; HEADER_BYTES];
    let (magic, bytes) = header.split_at_mut(MAGIC.len());
    magic.copy_from_slice(&MAGIC);
    bytes.copy_from_slice(&checksum.finalize().to_le_bytes());
    header
}

/// The file with this behind its checksum.
#[cfg(any(test, fuzzing))]
pub(super) fn sealed(body: &[u8]) -> Vec<u8> {
    let mut checksum = Hasher::new();
    checksum.update(body);
    [&header(checksum)[..], body].concat()
}

/// Returns the bytes behind the checksum of a file.
#[cfg(test)]
pub(super) fn body(file: &[u8]) -> Option<&[u8]> {
    file.get(HEADER_BYTES..)
}
