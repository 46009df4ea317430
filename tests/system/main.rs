//! Drives the two real binaries, and peers in other languages, against the real kernel.
//!
//! Needs root, two CPUs, and the programs that `tests/tools` installs.

mod broken_peers;
mod command;
mod cpus;
mod crowd;
mod cycles;
mod delays;
mod discovery;
mod exits;
mod fields;
mod grpcurl;
mod handover;
mod health;
mod help;
mod invalid;
mod killed;
mod lagging;
mod limits;
mod load;
mod logs;
mod loss;
mod misplaced;
mod policy;
mod python;
mod queries;
mod recovery;
mod redaction;
mod registration;
mod replaying;
mod restarting;
mod resuming;
mod sandbox;
mod shutdown;
mod soak;
mod startup;
mod stopped;
mod support;
mod unprivileged;
mod watchdog;
mod witness;
