//! Hand-over files: the history in them is restored, read and appended to.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| taskstatsd::handover::fuzzing::state(bytes));
