//! Datagrams of a netlink socket: parsing of messages and attributes, and the encoding of exits and
//! replies.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| taskstatsd::exits::fuzzing::datagram(bytes));
