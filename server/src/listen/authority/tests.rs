mod client;
mod generated;

use self::client::{Client, Coding};
use super::block::AUTHORITY_CODED;
use super::fuzzing::{OPENING, Verdict, authority, received};
use super::huffman;
use super::rewriter::MAX_HELD;
use crate::seeds::seeds;

const SOCKET: &str = "/run/taskstatsd/taskstatsd.sock";
const ESCAPED: &str = "%2Frun%2Ftaskstatsd%2Ftaskstatsd.sock";
/// Each coding of a value, with each kind of literal and of name.
const CODINGS: [Coding; 4] = [
    Coding { kind: 0x40, name: 1, huffman: false },
    Coding { kind: 0x00, name: 1, huffman: true },
    Coding { kind: 0x10, name: 0, huffman: false },
    Coding { kind: 0x40, name: 0, huffman: true },
];

/// Returns the authority that h2 accepts of a request with this one, or why h2 closes the connection.
fn accepted(sent: &[u8]) -> Vec<String> {
    let verdict = Verdict::of(&received(sent, 7));
    let authority = |(_, request): &(_, String)| {
        let (_, rest) = request.split_once("http://")?;
        Some(rest.split_once('/')?.0.to_owned())
    };
    verdict.requests.iter().map(|request| authority(request).unwrap_or_default()).collect()
}

fn accepted_of(value: &str, coding: Coding) -> Vec<String> {
    let mut client = Client::new();
    client.request(value.as_bytes(), coding);
    accepted(&client.sent)
}

/// Without the reader h2 refuses what clients send, and with it h2 accepts a value of the same length.
#[test]
fn paths_of_sockets_are_accepted() {
    for (value, expected) in [
        (SOCKET, "-run-taskstatsd-taskstatsd.sock"),
        (ESCAPED, "-2Frun-2Ftaskstatsd-2Ftaskstatsd.sock"),
        ("a b", "a-b"),
    ] {
        for coding in CODINGS {
            let mut client = Client::new();
            client.request(value.as_bytes(), coding);
            assert!(Verdict::of(&client.sent).requests.is_empty(), "{value}");
            assert_eq!(accepted(&client.sent), [expected], "{value} {coding:?}");
        }
    }
}

/// Octets that are refused in some places only are replaced where the value is refused.
#[test]
fn delimiters_are_replaced_where_the_value_is_refused() {
    let [raw, coded, ..] = CODINGS;
    for (value, expected, expected_coded) in [
        ("a:b:c", "a-b-c", "axbxc"),
        ("[::1", "---1", "~xx1"),
        ("user@", "user-", "user~"),
        ("a?b|c\"", "a-b-c-", "a!b+c!"),
    ] {
        assert_eq!(accepted_of(value, raw), [expected]);
        assert_eq!(accepted_of(value, coded), [expected_coded]);
    }
}

#[test]
fn valid_authorities_pass_unchanged() {
    for value in ["localhost", "localhost:50051", "[::1]:80", "a%20b@host", "a.b-c_d~e"] {
        for coding in CODINGS {
            let mut client = Client::new();
            client.request(value.as_bytes(), coding);
            assert_eq!(received(&client.sent, usize::MAX), client.sent, "{value} {coding:?}");
        }
    }
}

/// The client sends the authority once, and its index in the dynamic table in later requests.
#[test]
fn an_indexed_authority_was_rewritten_when_it_was_stored() {
    let mut client = Client::new();
    client.request(SOCKET.as_bytes(), CODINGS[0]);
    client.indexed_request();
    client.indexed_request();
    assert_eq!(accepted(&client.sent), ["-run-taskstatsd-taskstatsd.sock"; 3]);
}

/// An octet without a substitute of its length leaves the value as it is; h2 refuses that request only.
#[test]
fn an_octet_without_a_substitute_passes_unchanged() {
    let mut client = Client::new();
    for value in ["/run/{a}", "/run/#1", "/run/\u{e9}"] {
        client.request(value.as_bytes(), CODINGS[1]);
    }
    let before = client.sent.len();
    client.request(b"/run/a", CODINGS[1]);
    assert_eq!(received(&client.sent, usize::MAX)[..before], client.sent[..before]);
    assert_eq!(accepted(&client.sent), ["-run-a"]);
    assert_eq!(accepted_of("/run/{\u{e9}}", CODINGS[0]), ["-run-----"]);
}

/// A value that is longer than what is held back passes unchanged, however it is read.
#[test]
fn a_value_that_is_too_long_passes_unchanged() {
    for (length, is_accepted) in [(MAX_HELD, true), (MAX_HELD + 1, false)] {
        let mut client = Client::new();
        client.request("/".repeat(length).as_bytes(), CODINGS[0]);
        client.request(b"/", CODINGS[2]);
        let expected =
            if is_accepted { vec!["-".repeat(length), "-".into()] } else { vec!["-".into()] };
        for size in [1, 100, usize::MAX] {
            let received = received(&client.sent, size);
            assert_ne!(received, client.sent, "{size}");
            assert_eq!(accepted(&received), expected, "{size}");
        }
    }
}

/// A value may be divided among frames, and among reads at any octet.
#[test]
fn a_divided_value_is_rewritten() {
    for coding in CODINGS {
        let mut client = Client::new();
        client.fragments = vec![9; 6];
        client.padding = Some(3);
        client.priority = true;
        client.request(SOCKET.as_bytes(), coding);
        client.fragments.clear();
        client.request(SOCKET.as_bytes(), coding);
        let whole = received(&client.sent, usize::MAX);
        assert_eq!(accepted(&client.sent), ["-run-taskstatsd-taskstatsd.sock"; 2], "{coding:?}");
        for size in 1..client.sent.len() {
            assert_eq!(received(&client.sent, size), whole, "{size}");
        }
    }
}

/// Bytes that are held back for a value are delivered when the stream ends, or turns out malformed.
#[test]
fn an_incomplete_value_is_delivered() {
    let mut client = Client::new();
    client.request(SOCKET.as_bytes(), CODINGS[0]);
    let end = client.sent.len() - 5;
    assert_eq!(received(&client.sent[..end], 3), client.sent[..end]);

    let mut cut = OPENING.to_vec();
    // A block that ends inside of a value of 9 octets.
    cut.extend(b"\0\0\x04\x01\x05\0\0\0\x01\x41\x09//");
    for size in [1, 2, 100] {
        assert_eq!(received(&cut, size), cut);
    }
}

/// Input that is not HTTP/2 is not followed.
#[test]
fn other_protocols_pass_unchanged() {
    let mut client = Client::new();
    client.request(SOCKET.as_bytes(), CODINGS[0]);
    let frames = &client.sent[OPENING.len()..];
    for opening in ["GET / HTTP/1.1\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\t", ""] {
        let sent = [opening.as_bytes(), frames].concat();
        assert_eq!(received(&sent, 5), sent);
    }
}

/// After input that h2 answers by closing the connection, nothing is rewritten.
#[test]
fn nothing_is_rewritten_after_malformed_input() {
    let mut client = Client::new();
    client.request(SOCKET.as_bytes(), CODINGS[0]);
    let frames = &client.sent[OPENING.len()..];
    for malformed in [
        // CONTINUATION without HEADERS, PUSH_PROMISE, and DATA inside of a block.
        &b"\0\0\0\x09\x04\0\0\0\x01"[..],
        b"\0\0\0\x05\x04\0\0\0\x01",
        b"\0\0\0\x01\0\0\0\0\x01\0\0\0\0\0\0\0\0\x01",
        // CONTINUATION of another stream.
        b"\0\0\0\x01\0\0\0\0\x01\0\0\0\x09\x04\0\0\0\x03",
        // More padding than payload, and no space for the length of the padding or the priority.
        b"\0\0\x02\x01\x0c\0\0\0\x01\x02\0",
        b"\0\0\0\x01\x0c\0\0\0\x01",
        b"\0\0\x04\x01\x24\0\0\0\x01\0\0\0\0",
        // An integer of six octets.
        b"\0\0\x06\x01\x04\0\0\0\x01\xff\xff\xff\xff\xff\0",
        // A block that ends inside of a literal.
        b"\0\0\x01\x01\x04\0\0\0\x01\x41",
    ] {
        let sent = [OPENING, malformed, frames].concat();
        assert_eq!(received(&sent, 5), sent, "{malformed:x?}");
        assert!(Verdict::of(&sent).reason.is_some(), "{malformed:x?}");
    }
}

#[test]
fn the_coded_name_is_the_name() {
    assert_eq!(huffman::encode(b":authority"), AUTHORITY_CODED);
}

/// h2 decodes each octet as this module codes it.
#[test]
fn the_code_is_that_of_h2() {
    let octets: Vec<u8> = (b' '..=b'~').chain(0x80..=0xff).collect();
    let decoded = huffman::decode(&huffman::encode(&octets)).unwrap();
    assert!(decoded.iter().map(|code| code.octet).eq(octets.iter().copied()));
    let mut client = Client::new();
    client.request_with(b"localhost", CODINGS[0], &[("x-octets", &octets)]);
    let expected = http::HeaderValue::from_bytes(&octets).unwrap();
    let [(_, request)] = &Verdict::of(&client.sent).requests[..] else { panic!("refused") };
    assert!(request.contains(&format!("{expected:?}")), "{request}");
}

#[test]
fn malformed_codes_are_noticed() {
    // The code of EOS, a code that is cut off, and padding by zeros or by a whole octet.
    for coded in [&[0xff; 4][..], &[0xfe], &[0x00], &[0x07, 0xff]] {
        assert_eq!(huffman::decode(coded), None, "{coded:x?}");
    }
}

#[test]
fn every_seed_is_followed() {
    seeds("authority").iter().for_each(|seed| authority(seed));
}
