//! Fields in protobuf's wire format, appended to a buffer.
//!
//! Most numbers are small, so a field that fits is written as one 8-byte word of which only the
//! used part is kept: a fixed-size store is several times faster than a loop over bytes.

use super::wire::{
    CONTINUATION, FIXED_64, LENGTH_DELIMITED, MAX_VARINT, VARINT, VARINT_BITS, WIRE_TYPE_BITS,
};

/// [`CONTINUATION`] for 8 bytes at once.
const CONTINUATIONS: u64 = 0x8080_8080_8080_8080;
/// Values with more bits than this do not fit into a word beside their key: 7 bytes of 7 bits.
const WORD_VALUE_BITS: u32 = 49;
/// Bits in a byte of the buffer.
const BYTE_BITS: usize = 8;

/// Appends fields to a buffer.
pub(super) struct FieldWriter<'a> {
    out: &'a mut Vec<u8>,
}

impl<'a> FieldWriter<'a> {
    pub(super) fn new(out: &'a mut Vec<u8>) -> Self {
        Self { out }
    }

    /// Writes an integer, a bool or an enum.
    #[inline(always)]
    pub(super) fn integer(&mut self, number: u8, value: u64) {
        let [low, ..] = value.to_le_bytes();
        if value < u64::from(CONTINUATION) {
            self.out.extend_from_slice(&[key(number, VARINT), low]);
        } else if value >> WORD_VALUE_BITS == 0 {
            self.word(key(number, VARINT), value);
        } else {
            self.long_integer(key(number, VARINT), value);
        }
    }

    /// Writes an integer unless it is 0, which readers take an absent field for.
    #[inline(always)]
    pub(super) fn integer_unless_zero(&mut self, number: u8, value: u64) {
        if value != 0 {
            self.integer(number, value);
        }
    }

    /// Writes an integer of a field whose absence differs from 0.
    #[inline(always)]
    pub(super) fn integer_if_some(&mut self, number: u8, value: Option<u64>) {
        if let Some(value) = value {
            self.integer(number, value);
        }
    }

    /// Writes a `fixed64`.
    #[inline(always)]
    pub(super) fn fixed64(&mut self, number: u8, value: u64) {
        self.out.push(key(number, FIXED_64));
        self.out.extend_from_slice(&value.to_le_bytes());
    }

    /// Writes a signed integer in the form of `int32` and `int64`: negative ones take 10 bytes.
    #[inline(always)]
    pub(super) fn signed(&mut self, number: u8, value: i64) {
        self.integer(number, value.cast_unsigned());
    }

    /// Writes a string or bytes.
    pub(super) fn bytes(&mut self, number: u8, value: &[u8]) {
        self.short_message(number, |writer| writer.out.extend_from_slice(value));
    }

    /// Writes a message whose length is below 2^7 but in rare cases, which are slow: the message
    /// is moved to make room for a longer length.
    #[inline(always)]
    pub(super) fn short_message(&mut self, number: u8, body: impl FnOnce(&mut Self)) {
        self.out.extend_from_slice(&[key(number, LENGTH_DELIMITED), 0]);
        let start = self.out.len();
        body(self);
        let length = self.out.len() - start;
        if length >> VARINT_BITS == 0 {
            self.out[start - 1] = low_bits(length);
        } else {
            self.move_for_length(start, 1);
        }
    }

    /// Writes a message whose length is below 2^14, or which is slow to write. A length below 2^7 is
    /// padded to two bytes, which every reader accepts.
    ///
    /// Whatever a kernel sends is below: one netlink message of 8 KiB holds the unknown tails of
    /// both records, and what is known of a record has less than 2 KiB.
    #[inline(always)]
    pub(super) fn message(&mut self, number: u8, body: impl FnOnce(&mut Self)) {
        self.out.extend_from_slice(&[key(number, LENGTH_DELIMITED), 0, 0]);
        let start = self.out.len();
        body(self);
        let length = self.out.len() - start;
        if length >> (2 * VARINT_BITS) == 0 {
            let padded = [low_bits(length) | CONTINUATION, low_bits(length >> VARINT_BITS)];
            self.out[start - 2..start].copy_from_slice(&padded);
        } else {
            self.move_for_length(start, 2);
        }
    }

    /// Replaces the bytes set aside for the length of the message that begins at `start`.
    #[cold]
    fn move_for_length(&mut self, start: usize, set_aside: usize) {
        let length = self.out.len() - start;
        let mut varint = Vec::with_capacity(MAX_VARINT);
        FieldWriter::new(&mut varint).long_varint(u64::try_from(length).unwrap_or(u64::MAX));
        self.out.splice(start - set_aside..start, varint);
    }

    /// Writes key and value of up to [`WORD_VALUE_BITS`] bits at once.
    #[inline(always)]
    fn word(&mut self, key: u8, value: u64) {
        let length = varint_length(value);
        let continuations = CONTINUATIONS & ((1 << ((length - 1) * BYTE_BITS)) - 1);
        let word = (spread(value) | continuations) << BYTE_BITS | u64::from(key);
        let end = self.out.len() + 1 + length;
        self.out.extend_from_slice(&word.to_le_bytes());
        self.out.truncate(end);
    }

    #[cold]
    #[inline(never)]
    fn long_integer(&mut self, key: u8, value: u64) {
        self.out.push(key);
        self.long_varint(value);
    }

    fn long_varint(&mut self, value: u64) {
        let mut rest = value;
        while rest >= u64::from(CONTINUATION) {
            let [low, ..] = rest.to_le_bytes();
            self.out.push(low | CONTINUATION);
            rest >>= VARINT_BITS;
        }
        let [low, ..] = rest.to_le_bytes();
        self.out.push(low);
    }
}

/// Returns the key of a field. Numbers up to 15 make one byte; the contract has no others here.
#[inline(always)]
const fn key(number: u8, wire_type: u8) -> u8 {
    number << WIRE_TYPE_BITS | wire_type
}

/// Returns the length of a value other than 0, in bytes.
#[inline(always)]
fn varint_length(value: u64) -> usize {
    let bits = value.checked_ilog2().map_or(0, |log| usize::try_from(log).unwrap_or(0));
    bits / VARINT_BITS + 1
}

/// Moves each 7 bits of a value into a byte of its own.
#[inline(always)]
const fn spread(value: u64) -> u64 {
    let halves = value & 0x0fff_ffff | (value & 0x00ff_ffff_f000_0000) << 4;
    let quarters = halves & 0x0000_3fff_0000_3fff | (halves & 0x0fff_c000_0fff_c000) << 2;
    quarters & 0x007f_007f_007f_007f | (quarters & 0x3f80_3f80_3f80_3f80) << 1
}

/// Returns the lowest bits of a length, as many as a byte of a varint carries.
#[inline(always)]
fn low_bits(length: usize) -> u8 {
    let [low, ..] = length.to_le_bytes();
    low & !CONTINUATION
}

#[cfg(test)]
mod tests {
    use super::FieldWriter;
    use prost::encoding::{WireType, encode_key, encode_varint};

    fn by_prost(number: u32, value: u64) -> Vec<u8> {
        let mut expected = Vec::new();
        encode_key(number, WireType::Varint, &mut expected);
        encode_varint(value, &mut expected);
        expected
    }

    #[test]
    fn integers_of_every_width_are_written_as_prost_writes_them() {
        for shift in 0..u64::BITS {
            for value in [1 << shift, u64::MAX >> shift, (1 << shift) - 1, 0x5555 << shift] {
                let mut written = vec![0xaa];
                FieldWriter::new(&mut written).integer(13, value);
                assert_eq!(written[1..], by_prost(13, value), "{value:#x}");
            }
        }
    }

    #[test]
    fn lengths_beyond_the_bytes_set_aside_are_written_in_full() {
        for length in [0, 1, 127, 128, 16_383, 16_384, 2_097_152] {
            let mut written = Vec::new();
            FieldWriter::new(&mut written).message(1, |writer| {
                writer.bytes(14, &vec![7; length]);
            });
            let mut expected_inner = Vec::new();
            prost::encoding::bytes::encode(14, &vec![7_u8; length], &mut expected_inner);
            let mut input = &*written;
            let (number, wire_type) = prost::encoding::decode_key(&mut input).unwrap();
            assert_eq!((number, wire_type), (1, WireType::LengthDelimited));
            let reported = prost::encoding::decode_varint(&mut input).unwrap();
            assert_eq!(usize::try_from(reported).unwrap(), input.len());
            assert_eq!(input, expected_inner, "{length} bytes");
        }
    }
}
