//! The Huffman code of HPACK (RFC 7541, appendix B).

/// The symbol that ends the code: its first bits pad a string, and it is never in one.
const EOS: usize = 256;
const SYMBOLS: usize = EOS + 1;
const MAX_LENGTH: usize = 30;
/// More bits than these are no padding.
const MAX_PADDING: usize = 7;

/// The length of each symbol's code, in bits. The code is canonical, so that it follows from them: codes of
/// a length are consecutive, in the order of their symbols, after all shorter ones.
#[rustfmt::skip]
const LENGTHS: [u8; SYMBOLS] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28,
    28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28,
     6, 10, 10, 12, 13,  6,  8, 11, 10, 10,  8, 11,  8,  6,  6,  6,
     5,  5,  5,  6,  6,  6,  6,  6,  6,  6,  7,  8, 15,  6, 12, 10,
    13,  6,  7,  7,  7,  7,  7,  7,  7,  7,  7,  7,  7,  7,  7,  7,
     7,  7,  7,  7,  7,  7,  7,  7,  8,  7,  8, 13, 19, 13, 14,  6,
    15,  5,  6,  5,  6,  5,  6,  6,  6,  5,  7,  7,  6,  6,  6,  5,
     6,  7,  6,  5,  5,  6,  7,  7,  7,  7,  7, 15, 11, 14, 13, 28,
    20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23,
    24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24,
    22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23,
    21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25,
    19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27,
    20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23,
    26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26,
    30,
];
static TABLE: Table = Table::new();

/// An octet in a coded string.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Code {
    /// The octet.
    pub(super) octet: u8,
    /// Offset of its first bit.
    pub(super) at: usize,
}

/// The code, by length.
struct Table {
    /// Each symbol's code.
    codes: [u32; SYMBOLS],
    /// The symbols by their codes.
    order: [u16; SYMBOLS],
    /// For each length, the first code, and the number of symbols with shorter ones.
    first: [(u32, u16); MAX_LENGTH + 2],
}

impl Table {
    const fn new() -> Self {
        let mut table =
            Self { codes: [0; SYMBOLS], order: [0; SYMBOLS], first: [(0, 0); MAX_LENGTH + 2] };
        let (mut code, mut count, mut length) = (0, 0, 1);
        while length <= MAX_LENGTH {
            table.first[length] = (code, count);
            let mut symbol: u16 = 0;
            while (symbol as usize) < SYMBOLS {
                if LENGTHS[symbol as usize] as usize == length {
                    table.codes[symbol as usize] = code;
                    table.order[count as usize] = symbol;
                    code += 1;
                    count += 1;
                }
                symbol += 1;
            }
            code <<= 1;
            length += 1;
        }
        table.first[length] = (code, count);
        table
    }

    /// Returns the symbol that has a code of so many bits.
    fn symbol(&self, code: u32, length: usize) -> Option<usize> {
        let ((first, before), (_, until)) = (self.first[length], self.first[length + 1]);
        let place = usize::from(before) + usize::try_from(code.checked_sub(first)?).ok()?;
        (place < usize::from(until)).then(|| usize::from(self.order[place]))
    }
}

/// Returns the length of an octet's code, in bits.
pub(super) fn length(octet: u8) -> usize {
    usize::from(LENGTHS[usize::from(octet)])
}

/// Returns the octets of a coded string, or `None` when the string is malformed.
pub(super) fn decode(coded: &[u8]) -> Option<Vec<Code>> {
    let bits = 8 * coded.len();
    let mut codes = Vec::with_capacity(coded.len() * 2);
    let mut at = 0;
    while !is_padding(coded, at) {
        let (mut code, mut symbol, start) = (0, None, at);
        while symbol.is_none() {
            if at == bits || at - start == MAX_LENGTH {
                return None;
            }
            code = code << 1 | bit(coded, at);
            at += 1;
            symbol = TABLE.symbol(code, at - start);
        }
        codes.push(Code { octet: symbol?.try_into().ok()?, at: start });
    }
    Some(codes)
}

/// Writes the code of an octet into a coded string.
pub(super) fn write(coded: &mut [u8], Code { octet, at }: Code) {
    let code = TABLE.codes[usize::from(octet)];
    for (bit, at) in (0..length(octet)).rev().zip(at..) {
        let mask = 0x80 >> (at % 8);
        match code >> bit & 1 {
            0 => coded[at / 8] &= !mask,
            _ => coded[at / 8] |= mask,
        }
    }
}

fn bit(coded: &[u8], at: usize) -> u32 {
    u32::from(coded[at / 8] >> (7 - at % 8) & 1)
}

/// Returns whether the string ends here, but for bits that pad its last octet.
fn is_padding(coded: &[u8], at: usize) -> bool {
    let bits = 8 * coded.len();
    bits - at <= MAX_PADDING && (at..bits).all(|at| bit(coded, at) == 1)
}

/// Codes a string.
#[cfg(test)]
pub(super) fn encode(octets: &[u8]) -> Vec<u8> {
    let bits: usize = octets.iter().map(|octet| length(*octet)).sum();
    let mut coded = vec![u8::MAX; bits.div_ceil(8)];
    let mut at = 0;
    for &octet in octets {
        write(&mut coded, Code { octet, at });
        at += length(octet);
    }
    coded
}
