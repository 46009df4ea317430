//! Capture files and the netlink messages in them.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| taskstatsd::capture::fuzzing::capture(bytes));
