//! The representations of a header block (RFC 7541, sections 5 and 6), without the tables.

/// The index of `:authority` in the static table.
const AUTHORITY_INDEX: u32 = 1;
/// The name as it is, and Huffman-coded.
const AUTHORITY: &[u8] = b":authority";
pub(super) const AUTHORITY_CODED: &[u8] = &[0xb8, 0x3b, 0x53, 0x39, 0xec, 0x32, 0x7d, 0x7f];
/// The bit of a string's first octet that marks it as Huffman-coded.
const HUFFMAN: u8 = 0x80;
/// Octets of an integer after its first one. h2 refuses longer integers, so none exceeds 28 bits.
const MAX_CONTINUATION: u8 = 4;

/// The next octets of a header block.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// So many octets of anything else than the value of an authority.
    Other(usize),
    /// So many octets of the value of an authority.
    Authority {
        /// The number of octets.
        count: usize,
        /// True for the last ones.
        ends: bool,
        /// True if the value is Huffman-coded.
        huffman: bool,
    },
    /// An integer that h2 refuses.
    Malformed,
}

/// Finds values of `:authority` in a header block.
#[derive(Debug, Default)]
pub(super) struct Block {
    state: State,
    /// True if the literal's name is `:authority`, as far as it was read.
    is_authority: bool,
    /// True if the string is Huffman-coded.
    huffman: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// Before a representation.
    #[default]
    Representation,
    /// Before a string.
    String(Item),
    /// Inside of an integer that did not fit into its first octet.
    Integer { of: Item, value: u32, octets: u8 },
    /// Inside of a literal's name.
    Name { length: u32, left: u32 },
    /// Inside of a literal's value.
    Value { left: u32 },
}

/// The meaning of an integer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Item {
    /// The index of a field or the size of the table: a representation of nothing else.
    Whole,
    /// The index of a literal's name, 0 when the name follows.
    NameIndex,
    /// The length of a literal's name.
    Name,
    /// The length of a literal's value.
    Value,
}

impl Block {
    /// Returns what `bytes`, of which there are some, begin with.
    pub(super) fn next(&mut self, bytes: &[u8]) -> Part {
        let first = bytes[0];
        match self.state {
            State::Representation => {
                let (of, mask) = representation(first);
                self.is_authority = false;
                self.begin_integer(of, first, mask)
            }
            State::String(of) => {
                self.huffman = first & HUFFMAN != 0;
                self.begin_integer(of, first, !HUFFMAN)
            }
            State::Integer { of, value, octets } => {
                let value = value + (u32::from(first & 0x7f) << (7 * octets));
                let octets = octets + 1;
                if first & 0x80 == 0 {
                    self.end_integer(of, value);
                } else if octets < MAX_CONTINUATION {
                    self.state = State::Integer { of, value, octets };
                } else {
                    return Part::Malformed;
                }
                Part::Other(1)
            }
            State::Name { length, left } => self.name(bytes, length, left),
            State::Value { left } => self.value(bytes, left),
        }
    }

    /// Returns whether the block may end here.
    pub(super) fn is_complete(&self) -> bool {
        self.state == State::Representation
    }

    /// Treats the rest of the value as that of any other field.
    pub(super) fn ignore_value(&mut self) {
        self.is_authority = false;
    }

    fn begin_integer(&mut self, of: Item, octet: u8, mask: u8) -> Part {
        let value = u32::from(octet & mask);
        if octet & mask == mask {
            self.state = State::Integer { of, value, octets: 0 };
        } else {
            self.end_integer(of, value);
        }
        Part::Other(1)
    }

    fn end_integer(&mut self, of: Item, value: u32) {
        self.state = match (of, value) {
            (Item::NameIndex, 0) => State::String(Item::Name),
            (Item::NameIndex, index) => {
                self.is_authority = index == AUTHORITY_INDEX;
                State::String(Item::Value)
            }
            (Item::Name, 0) => State::String(Item::Value),
            (Item::Name, length) => {
                self.is_authority = length == self.authority_name().1;
                State::Name { length, left: length }
            }
            (Item::Whole, _) | (Item::Value, 0) => State::Representation,
            (Item::Value, left) => State::Value { left },
        };
    }

    /// Returns the name `:authority` as it is coded in this literal, and its length.
    fn authority_name(&self) -> (&'static [u8], u32) {
        if self.huffman { (AUTHORITY_CODED, 8) } else { (AUTHORITY, 10) }
    }

    fn name(&mut self, bytes: &[u8], length: u32, left: u32) -> Part {
        let (count, rest) = split(bytes, left);
        if self.is_authority {
            let at = to_usize(length - left);
            self.is_authority = self.authority_name().0[at..at + count] == bytes[..count];
        }
        self.state = match rest {
            0 => State::String(Item::Value),
            left => State::Name { length, left },
        };
        Part::Other(count)
    }

    fn value(&mut self, bytes: &[u8], left: u32) -> Part {
        let (count, rest) = split(bytes, left);
        self.state = match rest {
            0 => State::Representation,
            left => State::Value { left },
        };
        if self.is_authority {
            return Part::Authority { count, ends: rest == 0, huffman: self.huffman };
        }
        Part::Other(count)
    }
}

/// Returns the meaning of a representation's first integer, and its bits in the first octet.
fn representation(octet: u8) -> (Item, u8) {
    match octet {
        // An indexed field.
        0x80.. => (Item::Whole, 0x7f),
        // A literal with incremental indexing.
        0x40..=0x7f => (Item::NameIndex, 0x3f),
        // A new size of the dynamic table.
        0x20..=0x3f => (Item::Whole, 0x1f),
        // A literal without indexing, or never indexed.
        0x00..=0x1f => (Item::NameIndex, 0x0f),
    }
}

/// Returns how many of the `left` octets of a string `bytes` have, and how many they lack.
fn split(bytes: &[u8], left: u32) -> (usize, u32) {
    let count = u32::try_from(bytes.len()).map_or(left, |available| available.min(left));
    (to_usize(count), left - count)
}

fn to_usize(count: u32) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}
