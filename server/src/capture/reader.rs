//! Reading of captures. Arbitrary input cannot make the reader panic, or make it hold more than one
//! message.

use std::io::{self, Read};

use super::error::ReadError;
use super::format::{
    BYTE_ORDER_MARK, CaptureEntry, CaptureHeader, CaptureTotals, FORMAT, KIND_DROPPED, KIND_END,
    KIND_EXIT, KIND_PID_REPLY, KIND_TGID_REPLY, MAGIC, MAX_MESSAGE_BYTES,
};
use crate::taskstats::TaskId;

const HEADER: &str = "header";
const ENTRY: &str = "entries";
const END: &str = "end";

/// Reads a capture: its header, then its entries as an iterator. The iterator ends after an error.
///
/// ```no_run
/// use std::{fs::File, io::BufReader};
/// use taskstatsd::capture::CaptureReader;
///
/// let capture = CaptureReader::new(BufReader::new(File::open("node-7.capture")?))?;
/// println!("Linux {}", capture.header().kernel_release);
/// for entry in capture {
///     println!("{:?}", entry?);
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct CaptureReader<R> {
    input: Sealed<R>,
    header: CaptureHeader,
    seen: CaptureTotals,
    is_over: bool,
}

impl<R: Read> CaptureReader<R> {
    /// Reads the header.
    ///
    /// # Errors
    /// The error if the header is invalid or cannot be read.
    pub fn new(input: R) -> Result<Self, ReadError> {
        let mut input = Sealed { input, checksum: crc32fast::Hasher::new() };
        let header = read_header(&mut input)?;
        Ok(Self { input, header, seen: CaptureTotals::default(), is_over: false })
    }

    /// Returns the header.
    #[must_use]
    pub fn header(&self) -> &CaptureHeader {
        &self.header
    }

    /// Reads one entry; `None` at the end.
    fn read(&mut self) -> Result<Option<CaptureEntry>, ReadError> {
        let kind = u8::from_le_bytes(self.input.array(ENTRY)?);
        let subject = self.input.u32(ENTRY)?;
        let at_ns = self.input.u64(ENTRY)?;
        let length = self.input.u32(ENTRY)?;
        if length > MAX_MESSAGE_BYTES {
            return Err(ReadError::TooLong(length));
        }
        let payload = self.input.bytes(length.into(), ENTRY)?;
        self.input.check_seal(ENTRY)?;
        let reply = |id, message| CaptureEntry::Reply { id, received_at_ns: at_ns, message };
        let entry = match kind {
            KIND_END if payload == self.seen.encode() => return Ok(None),
            KIND_END if payload.len() == CaptureTotals::BYTES => return Err(ReadError::Miscounted),
            KIND_END => return Err(ReadError::Malformed(END)),
            KIND_EXIT => {
                CaptureEntry::Exit { cpu: subject, received_at_ns: at_ns, message: payload }
            }
            KIND_PID_REPLY => reply(TaskId::Pid(subject), payload),
            KIND_TGID_REPLY => reply(TaskId::Tgid(subject), payload),
            KIND_DROPPED => {
                let count = payload.try_into().map_err(|_| ReadError::Malformed(ENTRY))?;
                let count = u64::from_le_bytes(count);
                CaptureEntry::Dropped { cpu: subject, noticed_at_ns: at_ns, count }
            }
            kind => return Err(ReadError::UnknownKind(kind)),
        };
        self.seen.count(&entry);
        Ok(Some(entry))
    }
}

impl<R: Read> Iterator for CaptureReader<R> {
    type Item = Result<CaptureEntry, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.is_over {
            return None;
        }
        let entry = self.read().transpose();
        self.is_over = !matches!(entry, Some(Ok(_)));
        entry
    }
}

fn read_header<R: Read>(input: &mut Sealed<R>) -> Result<CaptureHeader, ReadError> {
    if input.array(HEADER)? != MAGIC {
        return Err(ReadError::NotACapture);
    }
    let format = input.u16(HEADER)?;
    if format != FORMAT {
        return Err(ReadError::UnknownFormat(format));
    }
    let mark = u16::from_ne_bytes(input.array(HEADER)?);
    if mark != BYTE_ORDER_MARK {
        let is_swapped = mark.swap_bytes() == BYTE_ORDER_MARK;
        let malformed = ReadError::Malformed(HEADER);
        return Err(if is_swapped { ReadError::OtherByteOrder } else { malformed });
    }
    let header = CaptureHeader {
        taskstats_version: input.u16(HEADER)?,
        begun_at_ns: input.u64(HEADER)?,
        kernel_release: input.text(HEADER)?,
        cpus: input.text(HEADER)?,
    };
    input.check_seal(HEADER)?;
    Ok(header)
}

/// An input whose parts each end with a checksum.
#[derive(Debug)]
struct Sealed<R> {
    input: R,
    checksum: crc32fast::Hasher,
}

impl<R: Read> Sealed<R> {
    fn array<const SIZE: usize>(&mut self, part: &'static str) -> Result<[u8; SIZE], ReadError> {
        let mut bytes = [0; SIZE];
        self.fill(&mut bytes, part)?;
        Ok(bytes)
    }

    fn u16(&mut self, part: &'static str) -> Result<u16, ReadError> {
        self.array(part).map(u16::from_le_bytes)
    }

    fn u32(&mut self, part: &'static str) -> Result<u32, ReadError> {
        self.array(part).map(u32::from_le_bytes)
    }

    fn u64(&mut self, part: &'static str) -> Result<u64, ReadError> {
        self.array(part).map(u64::from_le_bytes)
    }

    /// Reads `length` bytes. Allocates only as many bytes as the input has.
    fn bytes(&mut self, length: u64, part: &'static str) -> Result<Vec<u8>, ReadError> {
        let mut bytes = Vec::new();
        self.input.by_ref().take(length).read_to_end(&mut bytes).map_err(ReadError::Io)?;
        if u64::try_from(bytes.len()) != Ok(length) {
            return Err(ReadError::Truncated(part));
        }
        self.checksum.update(&bytes);
        Ok(bytes)
    }

    fn text(&mut self, part: &'static str) -> Result<String, ReadError> {
        let length = self.u16(part)?;
        let bytes = self.bytes(length.into(), part)?;
        String::from_utf8(bytes).map_err(|_| ReadError::Malformed(part))
    }

    /// Reads the checksum at the end of a part and starts the next part.
    fn check_seal(&mut self, part: &'static str) -> Result<(), ReadError> {
        let expected = std::mem::take(&mut self.checksum).finalize();
        let found = self.u32(part)?;
        self.checksum = crc32fast::Hasher::new();
        // A fuzzer cannot guess checksums.
        if found == expected || cfg!(fuzzing) { Ok(()) } else { Err(ReadError::Damaged(part)) }
    }

    fn fill(&mut self, bytes: &mut [u8], part: &'static str) -> Result<(), ReadError> {
        self.input.read_exact(bytes).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => ReadError::Truncated(part),
            _ => ReadError::Io(error),
        })?;
        self.checksum.update(bytes);
        Ok(())
    }
}
