//! The position in the bytes of an HTTP/2 connection.

/// The length of the connection preface (RFC 9113, section 3.4).
const PREFACE: usize = 24;
/// The length of a frame header (RFC 9113, section 4.1).
const FRAME_HEADER: usize = 9;
/// The position of the type in it, after the payload's length.
const FRAME_TYPE: usize = 3;

/// The position in a sequence of frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FrameCursor {
    /// So many bytes are left of the preface, or of a frame's payload.
    Skip(usize),
    /// So many bytes of a frame header were read, and the payload's length is in the first three.
    Header { read: usize, length: u32 },
}

impl FrameCursor {
    /// The begin of what a client sends.
    pub(super) const PREFACE: Self = Self::Skip(PREFACE);
    /// The begin of a frame.
    pub(super) const FRAME: Self = Self::Header { read: 0, length: 0 };

    /// Moves over the next bytes. Calls `on_frame` with the type and the payload's length of each frame
    /// whose type is among them.
    pub(super) fn advance(&mut self, mut bytes: &[u8], mut on_frame: impl FnMut(u8, u32)) {
        while let Some((&byte, rest)) = bytes.split_first() {
            match *self {
                Self::Skip(0) => *self = Self::FRAME,
                Self::Skip(left) => {
                    let part = left.min(bytes.len());
                    *self = Self::Skip(left - part);
                    bytes = &bytes[part..];
                }
                Self::Header { read, length } => {
                    if read == FRAME_TYPE {
                        on_frame(byte, length);
                    }
                    *self = Self::after_header_byte(read, length, byte);
                    bytes = rest;
                }
            }
        }
    }

    /// Returns true if the next byte begins a frame.
    pub(super) const fn is_between_frames(self) -> bool {
        matches!(self, Self::Skip(0) | Self::Header { read: 0, .. })
    }

    fn after_header_byte(read: usize, length: u32, byte: u8) -> Self {
        let length = if read < FRAME_TYPE { length << u8::BITS | u32::from(byte) } else { length };
        match read + 1 {
            FRAME_HEADER => Self::Skip(usize::try_from(length).unwrap_or(usize::MAX)),
            read => Self::Header { read, length },
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Payloads that look like frames are not counted, wherever the bytes are cut.
    #[test]
    fn frames_are_found_however_the_bytes_are_cut() {
        proptest!(|(
            frames in prop::collection::vec((0..10_u8, 0..40_u32), 0..40),
            size in 1..100_usize,
        )| {
            let mut bytes = vec![0; PREFACE];
            for &(kind, length) in &frames {
                bytes.extend(&length.to_be_bytes()[1..]);
                bytes.extend([kind, 0, 0, 0, 0, 1]);
                bytes.extend(vec![kind; usize::try_from(length).unwrap()]);
            }
            let (mut cursor, mut found) = (FrameCursor::PREFACE, Vec::new());
            for part in bytes.chunks(size) {
                cursor.advance(part, |kind, length| found.push((kind, length)));
            }
            prop_assert_eq!(found, frames);
            prop_assert!(cursor.is_between_frames());
        });
    }

    #[test]
    fn the_rest_of_a_frame_is_not_a_begin() {
        let mut cursor = FrameCursor::FRAME;
        for byte in [0, 0, 1, 6, 0, 0, 0, 0, 0] {
            cursor.advance(&[byte], |_, _| {});
            assert!(!cursor.is_between_frames());
        }
        cursor.advance(&[0], |_, _| {});
        assert!(cursor.is_between_frames());
    }
}
