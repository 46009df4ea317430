//! Encoding of generic netlink messages as the kernel sends them.

/// `struct nlmsghdr`: length, type, flags, sequence, port id.
const HEADER_BYTES: usize = 16;
/// `NLMSG_ALIGNTO` and `NLA_ALIGNTO`.
const ALIGNMENT: usize = 4;
/// `struct nlattr`: length and type.
const ATTRIBUTE_HEADER_BYTES: usize = 4;
/// `NLMSG_ERROR`.
const KIND_ERROR: u16 = 2;

/// Writes one message, attribute by attribute.
#[derive(Debug)]
pub(super) struct MessageWriter {
    bytes: Vec<u8>,
}

impl MessageWriter {
    /// Starts a message of a generic netlink family.
    pub(super) fn generic(family: u16, sequence: u32, command: u8, version: u8) -> Self {
        let mut writer = Self::begin(family, sequence);
        writer.push(&[command, version, 0, 0]);
        writer
    }

    /// Encodes an `NLMSG_ERROR` for the request with this sequence number; 0 is an acknowledgement.
    pub(super) fn error(sequence: u32, errno: i32) -> Vec<u8> {
        let mut writer = Self::begin(KIND_ERROR, sequence);
        writer.push(&errno.saturating_neg().to_ne_bytes());
        // The header of the request.
        writer.push(&[0; HEADER_BYTES]);
        writer.finish()
    }

    fn begin(kind: u16, sequence: u32) -> Self {
        let mut writer = Self { bytes: Vec::new() };
        writer.push(&[0; 4]);
        writer.push(&kind.to_ne_bytes());
        writer.push(&[0; 2]);
        writer.push(&sequence.to_ne_bytes());
        writer.push(&[0; 4]);
        writer
    }

    /// Reserves memory for `bytes` more bytes.
    pub(super) fn reserve(&mut self, bytes: usize) {
        self.bytes.reserve(bytes);
    }

    /// Appends bytes.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Appends an attribute whose payload `write` appends; nested attributes are possible. The
    /// length of an attribute that is too long saturates.
    pub(super) fn attribute(&mut self, kind: u16, write: impl FnOnce(&mut Self)) {
        let start = self.bytes.len();
        self.push(&[0; 2]);
        self.push(&kind.to_ne_bytes());
        write(self);
        let length = u16::try_from(self.bytes.len() - start).unwrap_or(u16::MAX);
        self.put(start, length.to_ne_bytes());
        self.align();
    }

    /// Returns the bytes written so far, to append to.
    pub(super) fn bytes_mut(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// Completes the message.
    pub(super) fn finish(mut self) -> Vec<u8> {
        let length = u32::try_from(self.bytes.len()).unwrap_or(u32::MAX);
        self.put(0, length.to_ne_bytes());
        self.bytes
    }

    fn put<const LENGTH: usize>(&mut self, at: usize, field: [u8; LENGTH]) {
        if let Some(target) = self.bytes.get_mut(at..).and_then(<[u8]>::first_chunk_mut) {
            *target = field;
        }
    }

    fn align(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(ALIGNMENT), 0);
    }
}

/// Returns the length of a message of a generic family with these nested attributes, each given by
/// the lengths of its attributes' payloads.
pub(super) fn written_bytes(nests: &[&[usize]]) -> usize {
    const GENERIC_HEADER_BYTES: usize = 4;
    let attribute = |payload: usize| ATTRIBUTE_HEADER_BYTES + payload.next_multiple_of(ALIGNMENT);
    let nest = |payloads: &[usize]| attribute(payloads.iter().copied().map(attribute).sum());
    let nests: usize = nests.iter().map(|payloads| nest(payloads)).sum();
    HEADER_BYTES + GENERIC_HEADER_BYTES + nests
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netlink::{MessageKind, Messages};

    #[test]
    fn an_encoded_error_is_parsed() {
        let read = |bytes: &[u8]| format!("{:?}", Messages::new(bytes).next().unwrap().kind());
        assert_eq!(read(&MessageWriter::error(9, 3)), format!("{:?}", MessageKind::Error(3)));
        assert_eq!(read(&MessageWriter::error(9, 0)), "Acknowledgement");
    }

    #[test]
    fn the_length_is_predicted() {
        let mut writer = MessageWriter::generic(31, 7, 2, 1);
        for length in [5, 8] {
            writer.attribute(4, |nest| {
                nest.attribute(1, |id| id.push(&[1; 4]));
                nest.attribute(3, |stats| stats.push(&vec![2; length]));
            });
        }
        let bytes = writer.finish();
        assert_eq!(bytes.len(), written_bytes(&[&[4, 5], &[4, 8]]));
        assert_eq!(Messages::new(&bytes).count(), 1);
    }
}
