//! Requests of every kind: accepted within the limits, or refused with the name of the wrong field.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| taskstatsd::rpc::fuzzing::request(bytes));
