//! Protobuf's wire format: the parts that writing and reading share.

/// Wire type of integers.
pub(super) const VARINT: u8 = 0;
/// Wire type of 8-byte numbers.
pub(super) const FIXED_64: u8 = 1;
/// Wire type of messages, strings and bytes.
pub(super) const LENGTH_DELIMITED: u8 = 2;
/// Wire type of 4-byte numbers.
pub(super) const FIXED_32: u8 = 5;
/// A key holds the wire type below the field number.
pub(super) const WIRE_TYPE_BITS: u8 = 3;
/// Each byte of a varint carries this many bits of the value.
pub(super) const VARINT_BITS: usize = 7;
/// Set in each byte of a varint but the last.
pub(super) const CONTINUATION: u8 = 0x80;
/// Bytes of the longest varint, of a 64-bit value.
pub(super) const MAX_VARINT: usize = 10;

/// A field in an encoded message, by offsets into it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Field {
    pub(super) number: u64,
    pub(super) wire_type: u8,
    /// The end of the key, where the length of a length-delimited value begins.
    pub(super) after_key: usize,
    /// The begin of the value, behind the length if there is one.
    pub(super) value: usize,
    pub(super) end: usize,
}

/// Reads the field at offset `start` of a message. Returns `None` if the message is malformed.
#[inline(always)]
pub(super) fn read_field(message: &[u8], start: usize) -> Option<Field> {
    let (key, after_key) = read_varint(message, start)?;
    let [low, ..] = key.to_le_bytes();
    let wire_type = low & ((1 << WIRE_TYPE_BITS) - 1);
    let (value, end) = match wire_type {
        VARINT => (after_key, read_varint(message, after_key)?.1),
        FIXED_64 => (after_key, after_key + size_of::<u64>()),
        FIXED_32 => (after_key, after_key + size_of::<u32>()),
        LENGTH_DELIMITED => {
            let (length, value) = read_varint(message, after_key)?;
            (value, value.checked_add(usize::try_from(length).ok()?)?)
        }
        // Groups, which proto3 does not have, and wire types that do not exist.
        _ => return None,
    };
    let field = Field { number: key >> WIRE_TYPE_BITS, wire_type, after_key, value, end };
    (end <= message.len()).then_some(field)
}

/// Reads a varint and returns its value and the offset behind it.
#[inline(always)]
fn read_varint(message: &[u8], start: usize) -> Option<(u64, usize)> {
    let first = *message.get(start)?;
    if first < CONTINUATION {
        return Some((first.into(), start + 1));
    }
    read_long_varint(message, start)
}

fn read_long_varint(message: &[u8], start: usize) -> Option<(u64, usize)> {
    let bytes = message.get(start..)?.iter().take(MAX_VARINT);
    let mut value = 0;
    for (index, byte) in bytes.enumerate() {
        value |= u64::from(byte & !CONTINUATION) << (index * VARINT_BITS);
        if *byte < CONTINUATION {
            return Some((value, start + index + 1));
        }
    }
    None
}
