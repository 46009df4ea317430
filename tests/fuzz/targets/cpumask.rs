//! Lists of CPUs, against a slow model; what is printed parses to the same.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| taskstatsd::taskstats::fuzzing::cpumask(bytes));
