//! A client that chooses how its header blocks are coded.

use crate::listen::authority::fuzzing::OPENING;
use crate::listen::authority::huffman;

const HEADERS: u8 = 0x1;
const CONTINUATION: u8 = 0x9;
const END_STREAM: u8 = 0x1;
const END_HEADERS: u8 = 0x4;
const PADDED: u8 = 0x8;
const PRIORITY: u8 = 0x20;
/// The kind of literal that the dynamic table stores.
const STORED: u8 = 0x40;
/// The newest entry of the dynamic table, as a field.
const NEWEST: u8 = 0x80 | 62;

/// The coding of a literal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Coding {
    /// The bits that say what kind of literal it is.
    pub(super) kind: u8,
    /// The index of its name, 0 when the name follows.
    pub(super) name: u8,
    pub(super) huffman: bool,
}

/// A client that has sent some requests.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) sent: Vec<u8>,
    /// Sizes of the fragments before the last one.
    pub(super) fragments: Vec<usize>,
    pub(super) padding: Option<u8>,
    pub(super) priority: bool,
    next_stream: u32,
}

impl Client {
    pub(super) fn new() -> Self {
        Self {
            sent: OPENING.to_vec(),
            fragments: Vec::new(),
            padding: None,
            priority: false,
            next_stream: 1,
        }
    }

    /// Sends `POST /` with an authority.
    pub(super) fn request(&mut self, authority: &[u8], coding: Coding) {
        self.request_with(authority, coding, &[]);
    }

    /// Sends `POST /` with an authority, and other headers of the same coding that are not stored.
    pub(super) fn request_with(
        &mut self,
        authority: &[u8],
        coding: Coding,
        headers: &[(&str, &[u8])],
    ) {
        let mut block = pseudo_headers();
        block.extend(literal(coding, b":authority", authority));
        let coding = Coding { kind: coding.kind & !STORED, name: 0, ..coding };
        for (name, value) in headers {
            block.extend(literal(coding, name.as_bytes(), value));
        }
        self.send(&block);
    }

    /// Sends `POST /` with the authority that the dynamic table stored last.
    pub(super) fn indexed_request(&mut self) {
        let block = [pseudo_headers(), vec![NEWEST]].concat();
        self.send(&block);
    }

    fn send(&mut self, block: &[u8]) {
        let stream = self.next_stream;
        self.next_stream += 2;
        let mut rest = block;
        let mut kind = HEADERS;
        for size in self.fragments.clone() {
            let (fragment, after) = rest.split_at(size.min(rest.len()));
            self.frame(kind, 0, stream, fragment);
            (kind, rest) = (CONTINUATION, after);
        }
        self.frame(kind, END_HEADERS, stream, rest);
    }

    fn frame(&mut self, kind: u8, mut flags: u8, stream: u32, fragment: &[u8]) {
        let mut payload = Vec::new();
        let mut padding = 0;
        if kind == HEADERS {
            flags |= END_STREAM;
            if let Some(length) = self.padding {
                flags |= PADDED;
                payload.push(length);
                padding = usize::from(length);
            }
            if self.priority {
                flags |= PRIORITY;
                payload.extend([0, 0, 0, 0, 15]);
            }
        }
        payload.extend(fragment);
        payload.extend(vec![0; padding]);
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        self.sent.extend(&length[1..]);
        self.sent.extend([kind, flags]);
        self.sent.extend(stream.to_be_bytes());
        self.sent.extend(payload);
    }
}

/// `:method POST`, `:scheme http` and `:path /`, by their indices in the static table.
fn pseudo_headers() -> Vec<u8> {
    vec![0x83, 0x86, 0x84]
}

fn literal(coding: Coding, name: &[u8], value: &[u8]) -> Vec<u8> {
    let mut octets = vec![coding.kind | coding.name];
    if coding.name == 0 {
        octets.extend(string(name, coding.huffman));
    }
    octets.extend(string(value, coding.huffman));
    octets
}

fn string(octets: &[u8], huffman: bool) -> Vec<u8> {
    let (flag, octets) =
        if huffman { (0x80, huffman::encode(octets)) } else { (0, octets.to_vec()) };
    [integer(flag, octets.len()), octets].concat()
}

/// An integer that begins with 7 bits.
fn integer(flag: u8, value: usize) -> Vec<u8> {
    if value < 0x7f {
        return vec![flag | u8::try_from(value).unwrap()];
    }
    let mut octets = vec![flag | 0x7f];
    let mut rest = value - 0x7f;
    while rest >= 0x80 {
        octets.push(u8::try_from(rest % 0x80).unwrap() | 0x80);
        rest /= 0x80;
    }
    octets.push(u8::try_from(rest).unwrap());
    octets
}
