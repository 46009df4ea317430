//! Datagrams of a netlink socket: the walk through messages and attributes, exits and replies.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| taskstatsd::taskstats::fuzzing::datagram(bytes));
