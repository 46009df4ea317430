//! The checks, each in a file.

mod attribution;
mod capability;
mod certificates;
mod delay_accounting;
mod descriptors;
mod family;
mod files;
mod kernel;
mod known_bad;
mod namespaces;
mod receive_buffer;
mod sandbox;
mod self_test;
mod settings;

use super::{Context, Finding};

/// A check. It changes nothing, lasts seconds at most, and never panics.
type Check = fn(&Context) -> Finding;

/// All checks, in the order of the report: causes before consequences.
pub(super) const ALL: &[Check] = &[
    kernel::check,
    known_bad::check,
    files::check,
    settings::check,
    certificates::check,
    family::check,
    capability::check,
    namespaces::user,
    namespaces::pid,
    namespaces::network,
    receive_buffer::check,
    descriptors::check,
    delay_accounting::check,
    attribution::check,
    sandbox::check,
    self_test::check,
];
