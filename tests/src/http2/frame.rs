//! Frames and headers as bytes (RFC 9113, section 4; RFC 7541).

use bytes::{BufMut, BytesMut};

/// The connection preface of a client.
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The largest length that fits into the first byte of a literal (RFC 7541, 5.1: a prefix of seven
/// bits).
const SHORT: usize = 127;
/// Bits of a continued length in each byte.
const CONTINUED_BITS: u32 = 7;
/// `:method: POST` of the static table.
const METHOD_POST: u8 = 0x83;
/// `:scheme: http` of the static table.
const SCHEME_HTTP: u8 = 0x86;
/// A literal without indexing, with a literal name.
const LITERAL: u8 = 0;
/// A literal that enters no table, with the name `:path` of the static table.
const LITERAL_PATH: u8 = 4;
/// The same for `:authority`.
const LITERAL_AUTHORITY: u8 = 1;

/// Types of frames (RFC 9113, section 6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// Bytes of a body.
    Data = 0,
    /// The beginning of a stream.
    Headers = 1,
    /// The weight of a stream, which has no meaning any more.
    Priority = 2,
    /// The end of a stream, by force.
    RstStream = 3,
    /// A setting of the peer.
    Settings = 4,
    /// A question to be echoed.
    Ping = 6,
    /// The end of a connection.
    GoAway = 7,
    /// Credit for more bytes.
    WindowUpdate = 8,
    /// More headers.
    Continuation = 9,
    /// A type that no standard defines.
    Unknown = 77,
}

/// Flags of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Flags(pub u8);

impl Flags {
    /// None.
    pub const NONE: Self = Self(0);
    /// The last frame of the stream; of SETTINGS and PING, an acknowledgement.
    pub const END_STREAM: Self = Self(1);
    /// The last frame of a list of headers.
    pub const END_HEADERS: Self = Self(4);
}

/// A frame.
#[derive(Debug, Clone)]
pub struct Frame<'a> {
    /// Its type.
    pub kind: Kind,
    /// Its flags.
    pub flags: Flags,
    /// The stream, 0 for the connection.
    pub stream: u32,
    /// The payload.
    pub payload: &'a [u8],
}

impl<'a> Frame<'a> {
    /// Creates a frame without flags.
    #[must_use]
    pub fn new(kind: Kind, stream: u32, payload: &'a [u8]) -> Self {
        Self { kind, flags: Flags::NONE, stream, payload }
    }

    /// Gives it flags.
    #[must_use]
    pub fn with(self, flags: Flags) -> Self {
        Self { flags, ..self }
    }

    /// Appends its bytes.
    pub fn put(&self, bytes: &mut BytesMut) {
        let length = u64::try_from(self.payload.len()).unwrap_or(u64::MAX);
        bytes.put_uint(length, 3);
        bytes.put_u8(self.kind as u8);
        bytes.put_u8(self.flags.0);
        bytes.put_u32(self.stream);
        bytes.put_slice(self.payload);
    }
}

/// A list of headers, none of which is compressed.
#[derive(Debug, Clone, Default)]
pub struct Headers {
    bytes: BytesMut,
}

impl Headers {
    /// Creates the headers of a gRPC call.
    #[must_use]
    pub fn call(path: &str) -> Self {
        let mut headers = Self::default();
        headers.bytes.put_slice(&[METHOD_POST, SCHEME_HTTP, LITERAL_PATH]);
        headers.put_text(path.as_bytes());
        headers.bytes.put_u8(LITERAL_AUTHORITY);
        headers.put_text(b"localhost");
        headers.with("content-type", b"application/grpc").with("te", b"trailers")
    }

    /// Adds a header.
    #[must_use]
    pub fn with(mut self, name: &str, value: &[u8]) -> Self {
        self.bytes.put_u8(LITERAL);
        self.put_text(name.as_bytes());
        self.put_text(value);
        self
    }

    /// Returns the bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    fn put_text(&mut self, text: &[u8]) {
        self.put_length(text.len());
        self.bytes.put_slice(text);
    }

    fn put_length(&mut self, length: usize) {
        let Some(mut rest) = length.checked_sub(SHORT) else {
            return self.bytes.put_u8(low_bits(length));
        };
        self.bytes.put_u8(low_bits(SHORT));
        while rest > SHORT {
            self.bytes.put_u8(low_bits(rest & SHORT) | 1 << CONTINUED_BITS);
            rest >>= CONTINUED_BITS;
        }
        self.bytes.put_u8(low_bits(rest));
    }
}

fn low_bits(number: usize) -> u8 {
    u8::try_from(number).unwrap_or(u8::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_its_header_and_its_payload() {
        let mut bytes = BytesMut::new();
        Frame::new(Kind::Ping, 0, b"12345678").with(Flags::END_STREAM).put(&mut bytes);
        assert_eq!(&bytes[..], b"\0\0\x08\x06\x01\0\0\0\x0012345678");
    }

    /// The number of RFC 7541, C.1.2, behind a prefix of seven bits, and the literal of C.2.1.
    #[test]
    fn lengths_and_literals_are_those_of_the_standard() {
        let mut headers = Headers::default();
        headers.put_length(1337);
        assert_eq!(headers.bytes(), [0x7f, 0xba, 0x09]);
        let headers = Headers::default().with("custom-key", b"custom-header");
        assert_eq!(headers.bytes(), b"\0\x0acustom-key\x0dcustom-header");
    }
}
