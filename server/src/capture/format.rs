//! The content of a capture and its layout.

use crate::taskstats::TaskId;

/// The first bytes of every capture.
pub(super) const MAGIC: [u8; 8] = *b"TSTATCAP";
/// The format version. It increases when older readers would misread the format.
pub(super) const FORMAT: u16 = 1;
/// Written in host byte order. With the other byte order it reads as another number.
pub(super) const BYTE_ORDER_MARK: u16 = 0x0102;
/// The longest message: a generic netlink message is a page at most, and a page is 64 KiB at most.
pub(super) const MAX_MESSAGE_BYTES: u32 = 64 * 1024;

/// The kind of the last entry.
pub(super) const KIND_END: u8 = 0;
/// The kind of an exit.
pub(super) const KIND_EXIT: u8 = 1;
/// The kind of a reply for a task.
pub(super) const KIND_PID_REPLY: u8 = 2;
/// The kind of a reply for a group.
pub(super) const KIND_TGID_REPLY: u8 = 3;
/// The kind of a loss.
pub(super) const KIND_DROPPED: u8 = 4;

/// The header of a capture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaptureHeader {
    /// The version of the kernel's struct.
    pub taskstats_version: u16,
    /// The start of the capture, ns since the Unix epoch.
    pub begun_at_ns: u64,
    /// The kernel's release, as `uname -r` prints it.
    pub kernel_release: String,
    /// The captured CPUs, in the kernel's list syntax.
    pub cpus: String,
}

/// An entry of a capture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CaptureEntry {
    /// An exit.
    Exit {
        /// The CPU of the socket that received it.
        cpu: u32,
        /// The time of its receipt, ns since the Unix epoch.
        received_at_ns: u64,
        /// The datagram, from its `nlmsghdr` on.
        message: Vec<u8>,
    },
    /// A reply to a query.
    Reply {
        /// The subject of the query.
        id: TaskId,
        /// The time of its receipt, ns since the Unix epoch.
        received_at_ns: u64,
        /// The datagram, from its `nlmsghdr` on.
        message: Vec<u8>,
    },
    /// A loss of exits of a CPU, after the exits before this entry.
    Dropped {
        /// The CPU.
        cpu: u32,
        /// The time of its detection, ns since the Unix epoch.
        noticed_at_ns: u64,
        /// The number of lost exits.
        count: u64,
    },
}

/// The counts of a capture's entries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CaptureTotals {
    /// Exits.
    pub(crate) exits: u64,
    /// Replies to queries.
    pub(crate) replies: u64,
    /// Exits that were lost.
    pub(crate) dropped: u64,
}

impl CaptureTotals {
    /// The length of the last entry's payload.
    pub(super) const BYTES: usize = 24;

    /// Counts an entry.
    pub(super) fn count(&mut self, entry: &CaptureEntry) {
        match entry {
            CaptureEntry::Exit { .. } => self.exits += 1,
            CaptureEntry::Reply { .. } => self.replies += 1,
            CaptureEntry::Dropped { count, .. } => {
                self.dropped = self.dropped.saturating_add(*count);
            }
        }
    }

    pub(super) fn encode(self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        let (fields, _) = bytes.as_chunks_mut();
        for (field, number) in fields.iter_mut().zip([self.exits, self.replies, self.dropped]) {
            *field = number.to_le_bytes();
        }
        bytes
    }
}
