//! Requests of every kind: within bounds, or refused by the field that is wrong.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| taskstatsd::rpc::fuzzing::request(bytes));
