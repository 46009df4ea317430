//! Writing of captures.

use std::io::{self, Write};

use super::format::{
    BYTE_ORDER_MARK, CaptureEntry, CaptureHeader, CaptureTotals, FORMAT, KIND_DROPPED, KIND_END,
    KIND_EXIT, KIND_PID_REPLY, KIND_TGID_REPLY, MAGIC,
};
use crate::taskstats::TaskId;

/// Writes a capture, entry by entry.
#[derive(Debug)]
pub struct CaptureWriter<W> {
    output: W,
    totals: CaptureTotals,
}

impl<W: Write> CaptureWriter<W> {
    /// Writes the header.
    ///
    /// # Errors
    /// The error of the output; `InvalidInput` for a text of 64 KiB or more.
    pub fn new(mut output: W, header: &CaptureHeader) -> io::Result<Self> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend(FORMAT.to_le_bytes());
        bytes.extend(BYTE_ORDER_MARK.to_ne_bytes());
        bytes.extend(header.taskstats_version.to_le_bytes());
        bytes.extend(header.begun_at_ns.to_le_bytes());
        for text in [&header.kernel_release, &header.cpus] {
            bytes.extend(length::<u16>(text.len())?.to_le_bytes());
            bytes.extend(text.as_bytes());
        }
        write_sealed(&mut output, bytes)?;
        Ok(Self { output, totals: CaptureTotals::default() })
    }

    /// Writes an entry.
    ///
    /// # Errors
    /// The error of the output; `InvalidInput` for a message of 4 GiB or more.
    pub fn write(&mut self, entry: &CaptureEntry) -> io::Result<()> {
        self.totals.count(entry);
        match entry {
            CaptureEntry::Exit { cpu, received_at_ns, message } => {
                self.write_part(KIND_EXIT, *cpu, *received_at_ns, message)
            }
            CaptureEntry::Reply { id: TaskId::Pid(pid), received_at_ns, message } => {
                self.write_part(KIND_PID_REPLY, *pid, *received_at_ns, message)
            }
            CaptureEntry::Reply { id: TaskId::Tgid(tgid), received_at_ns, message } => {
                self.write_part(KIND_TGID_REPLY, *tgid, *received_at_ns, message)
            }
            CaptureEntry::Dropped { cpu, noticed_at_ns, count } => {
                self.write_part(KIND_DROPPED, *cpu, *noticed_at_ns, &count.to_le_bytes())
            }
        }
    }

    /// Writes the end, after which the capture is complete.
    ///
    /// # Errors
    /// The error of the output.
    pub fn finish(mut self, at_ns: u64) -> io::Result<CaptureTotals> {
        self.write_part(KIND_END, 0, at_ns, &self.totals.encode())?;
        self.output.flush()?;
        Ok(self.totals)
    }

    fn write_part(&mut self, kind: u8, subject: u32, at_ns: u64, payload: &[u8]) -> io::Result<()> {
        let mut bytes = vec![kind];
        bytes.extend(subject.to_le_bytes());
        bytes.extend(at_ns.to_le_bytes());
        bytes.extend(length::<u32>(payload.len())?.to_le_bytes());
        bytes.extend(payload);
        write_sealed(&mut self.output, bytes)
    }
}

/// Writes a part and its checksum.
fn write_sealed(output: &mut impl Write, mut bytes: Vec<u8>) -> io::Result<()> {
    bytes.extend(crc32fast::hash(&bytes).to_le_bytes());
    output.write_all(&bytes)
}

fn length<T: TryFrom<usize>>(bytes: usize) -> io::Result<T> {
    let too_long = || io::Error::new(io::ErrorKind::InvalidInput, "too long for a capture");
    T::try_from(bytes).map_err(|_| too_long())
}
