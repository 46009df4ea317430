//! `struct taskstats` of any version and length, from any kind of message, also truncated.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| taskstatsd::taskstats::fuzzing::record(bytes));
