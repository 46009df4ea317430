//! Drives the two real binaries, and peers in other languages, against the real kernel.
//!
//! Needs root, two CPUs, and the programs that `tests/tools` installs.

mod broken_peers;
mod command;
mod cpus;
mod discovery;
mod exits;
mod fields;
mod grpcurl;
mod invalid;
mod load;
mod loss;
mod python;
mod queries;
mod registration;
mod shutdown;
mod startup;
mod support;
mod witness;
