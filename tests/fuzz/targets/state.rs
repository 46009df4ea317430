//! State files, and the histories in them, restored, read and gone on with.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| taskstatsd::handover::fuzzing::state(bytes));
