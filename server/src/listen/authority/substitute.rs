//! Octets in place of those that an authority may not have.

use http::uri::Authority;

use super::huffman::{self, Code};

/// Replaces octets of a value, as it is in a header block, so that it becomes an authority of the same
/// length. A value that is one already, or cannot become one, stays as it is.
pub(super) fn make_valid(octets: &mut [u8], huffman: bool) {
    if huffman { make_valid_coded(octets) } else { make_valid_raw(octets) }
}

fn make_valid_raw(octets: &mut [u8]) {
    if Authority::try_from(&*octets).is_err() {
        octets.iter_mut().filter(|octet| !is_plain(**octet)).for_each(|octet| *octet = b'-');
    }
}

fn make_valid_coded(coded: &mut [u8]) {
    let Some(codes) = huffman::decode(coded) else { return };
    let octets: Vec<u8> = codes.iter().map(|code| code.octet).collect();
    if Authority::try_from(&*octets).is_ok() {
        return;
    }
    let refused = codes.iter().filter(|code| !is_plain(code.octet));
    let substitutes: Option<Vec<Code>> = refused.map(substitute).collect();
    // With one octet that cannot be replaced, h2 refuses the value in any case.
    for code in substitutes.into_iter().flatten() {
        huffman::write(coded, code);
    }
}

/// Returns an octet for the place of a refused one, with a code of the same length. Lengths of 5 and 8
/// bits have plain octets only; 12, 14, 15 and more have none.
fn substitute(refused: &Code) -> Option<Code> {
    let octet = match huffman::length(refused.octet) {
        6 => b'-',
        7 => b'x',
        10 => b'!',
        11 => b'+',
        13 => b'~',
        _ => return None,
    };
    Some(Code { octet, ..*refused })
}

/// Returns whether an octet may stand anywhere in an authority: RFC 3986 calls these `unreserved` and
/// `sub-delims`.
fn is_plain(octet: u8) -> bool {
    octet.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=".contains(&octet)
}
