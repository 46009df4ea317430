//! Generated connections, read in any pieces.

use http::uri::Authority;
use proptest::prelude::*;

use super::client::{Client, Coding};
use super::{Verdict, received};
use crate::listen::authority::fuzzing::authority;

/// A request and how it is sent.
#[derive(Debug, Clone)]
struct Request {
    authority: Vec<u8>,
    coding: Coding,
    headers: Vec<(String, String)>,
    fragments: Vec<usize>,
    padding: Option<u8>,
    priority: bool,
    /// True if a request follows that refers to the stored authority.
    again: bool,
}

/// Authorities of clients, and others. Without octets that have no substitute in Huffman's code.
fn authorities() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        r"[a-z0-9./%:@\[\]_-]{1,40}".prop_map(String::into_bytes),
        r"(/run|%2Frun|unix:)[ -\]&&[^#>^<\\]]{0,30}".prop_map(String::into_bytes),
    ]
}

fn codings() -> impl Strategy<Value = Coding> {
    (prop::sample::select(vec![0x00, 0x10, 0x40]), 0..2_u8, any::<bool>())
        .prop_map(|(kind, name, huffman)| Coding { kind, name, huffman })
}

fn requests() -> impl Strategy<Value = Request> {
    let headers = prop::collection::vec(("x-[a-z]{1,9}", "[ -~]{0,150}"), 0..4);
    let frames = (prop::collection::vec(0..60_usize, 0..4), any::<Option<u8>>(), any::<bool>());
    (authorities(), codings(), headers, frames, any::<bool>()).prop_map(
        |(authority, coding, headers, (fragments, padding, priority), again)| Request {
            authority,
            coding,
            headers,
            fragments,
            padding,
            priority,
            again: again && coding.kind == 0x40,
        },
    )
}

/// Sends the requests, each with what `authority` gives for its authority.
fn send(requests: &[Request], authority: impl Fn(&[u8]) -> Vec<u8>) -> Vec<u8> {
    let mut client = Client::new();
    for request in requests {
        client.fragments.clone_from(&request.fragments);
        client.padding = request.padding;
        client.priority = request.priority;
        let headers = request.headers.iter().map(|(name, value)| (&**name, value.as_bytes()));
        let headers: Vec<_> = headers.collect();
        client.request_with(&authority(&request.authority), request.coding, &headers);
        if request.again {
            client.indexed_request();
        }
    }
    client.sent
}

/// Describes requests without their authorities, and the authorities.
fn split(requests: &[(h2::StreamId, String)]) -> (Vec<String>, Vec<String>) {
    let split = requests.iter().map(|(stream, request)| {
        let (before, rest) = request.split_once("http://").unwrap();
        let (authority, after) = rest.split_once("/ {").unwrap();
        (format!("{stream:?} {before} {after}"), authority.to_owned())
    });
    split.unzip()
}

proptest! {
    /// h2 decodes what was sent, but for authorities that it would refuse.
    #[test]
    fn nothing_but_authorities_changes(
        requests in prop::collection::vec(requests(), 1..5),
        size in prop_oneof![1..40_usize, Just(usize::MAX)],
    ) {
        let sent = send(&requests, <[u8]>::to_vec);
        let received = received(&sent, size);
        prop_assert_eq!(sent.len(), received.len());
        let valid = |authority: &[u8]| match Authority::try_from(authority) {
            Ok(_) => authority.to_vec(),
            Err(_) => vec![b'a'; authority.len()],
        };
        let expected = Verdict::of(&send(&requests, valid));
        let found = Verdict::of(&received);
        let ((expected, _), (found, authorities)) = (split(&expected.requests), split(&found.requests));
        prop_assert_eq!(expected, found);
        let mut authorities = authorities.iter();
        for request in &requests {
            for _ in 0..=usize::from(request.again) {
                let sent = String::from_utf8_lossy(&request.authority);
                let found = authorities.next().unwrap();
                if Authority::try_from(&*sent).is_ok() {
                    prop_assert_eq!(&sent, found);
                } else {
                    let plain = |text: &str| text.bytes().filter(u8::is_ascii_alphanumeric).count();
                    prop_assert_eq!(sent.len(), found.len());
                    prop_assert!(plain(&sent) <= plain(found));
                }
            }
        }
    }

    /// Changed octets lie in the values of authorities.
    #[test]
    fn other_octets_are_identical(requests in prop::collection::vec(requests(), 1..5)) {
        let raw = |request: &Request| {
            let coding = Coding { huffman: false, ..request.coding };
            Request { coding, ..request.clone() }
        };
        let requests: Vec<_> = requests.iter().map(raw).collect();
        // Each octet of an authority differs between the two, and no other octet does.
        let (sent, other) =
            (send(&requests, <[u8]>::to_vec), send(&requests, |it| it.iter().map(|octet| octet ^ 1).collect()));
        for ((sent, other), received) in sent.iter().zip(&other).zip(received(&sent, usize::MAX)) {
            prop_assert!(*sent == received || sent != other);
        }
    }

    /// No input is read differently in pieces, and none loses a request.
    #[test]
    fn any_bytes_are_followed(mut bytes in prop::collection::vec(any::<u8>(), 0..200), frames: bool) {
        if frames && bytes.len() > 9 {
            // Most bytes are no frame: these are the payload of one.
            let length = u8::try_from(bytes.len() - 10).unwrap();
            bytes[1..10].copy_from_slice(&[0, 0, length, 1, 4, 0, 0, 0, 1]);
        }
        authority(&bytes);
    }
}
