//! CPU lists, compared with a slow model; a printed list parses to the same CPUs.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| taskstatsd::taskstats::fuzzing::cpumask(bytes));
