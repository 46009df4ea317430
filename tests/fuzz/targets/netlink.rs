//! Datagrams of a netlink socket: the walk through messages and attributes, exits and replies, and
//! how they are encoded.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| taskstatsd::exits::fuzzing::datagram(bytes));
