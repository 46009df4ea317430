//! The bytes that a client sends on a unix socket: h2 sees the same requests, but for their
//! authorities.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| taskstatsd::listen::fuzzing::authority(bytes));
