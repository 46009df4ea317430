//! What a capture consists of, and how it is laid out.

use crate::taskstats::TaskId;

/// What every capture begins with.
pub(super) const MAGIC: [u8; 8] = *b"TSTATCAP";
/// The format that this build writes and reads. It grows when a reader of today would go wrong.
pub(super) const FORMAT: u16 = 1;
/// Written in host order: another order reads it as another number.
pub(super) const BYTE_ORDER_MARK: u16 = 0x0102;
/// The longest message: generic netlink messages have a page at most, and pages 64 KiB at most.
pub(super) const MAX_MESSAGE_BYTES: u32 = 64 * 1024;

/// `kind` of the last entry.
pub(super) const KIND_END: u8 = 0;
/// `kind` of an exit.
pub(super) const KIND_EXIT: u8 = 1;
/// `kind` of an answer for a task.
pub(super) const KIND_PID_REPLY: u8 = 2;
/// `kind` of an answer for a group.
pub(super) const KIND_TGID_REPLY: u8 = 3;
/// `kind` of a loss.
pub(super) const KIND_DROPPED: u8 = 4;

/// What holds for a whole capture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaptureHeader {
    /// The kernel's struct version.
    pub taskstats_version: u16,
    /// When it began, ns since 1970.
    pub begun_at_ns: u64,
    /// `uname -r` of the kernel.
    pub kernel_release: String,
    /// The CPUs that were listened to, in the kernel's list syntax.
    pub cpus: String,
}

/// One thing that happened during a capture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CaptureEntry {
    /// The kernel told an exit.
    Exit {
        /// The CPU of the socket that it came from.
        cpu: u32,
        /// When it was received, ns since 1970.
        received_at_ns: u64,
        /// The datagram, from its `nlmsghdr` on.
        message: Vec<u8>,
    },
    /// The kernel answered a question.
    Reply {
        /// What was asked for.
        id: TaskId,
        /// When it was received, ns since 1970.
        received_at_ns: u64,
        /// The datagram, from its `nlmsghdr` on.
        message: Vec<u8>,
    },
    /// Exits of a CPU were lost after those before this entry.
    Dropped {
        /// The CPU.
        cpu: u32,
        /// When it was noticed, ns since 1970.
        noticed_at_ns: u64,
        /// How many.
        count: u64,
    },
}

/// How much a capture holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CaptureTotals {
    /// Exits.
    pub exits: u64,
    /// Answers to questions.
    pub replies: u64,
    /// Exits that were lost.
    pub dropped: u64,
}

impl CaptureTotals {
    /// Bytes of an end's payload.
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
