//! Descriptors that the service manager passed to this process (`sd_listen_fds(3)`).
#![expect(unsafe_code, reason = "the manager passes descriptors by number")]

use std::io;
use std::os::fd::{FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};

/// A descriptor of the service manager, with its name.
#[derive(Debug)]
pub struct Inherited {
    /// The descriptor, which is close-on-exec.
    pub(crate) descriptor: OwnedFd,
    /// The name of its socket unit, or the name under which it was stored.
    pub(crate) name: String,
}

/// Returns the descriptors that were passed to this process, at the first call only. Call it before
/// anything else opens a descriptor.
///
/// # Errors
/// The variables of the manager cannot be parsed.
pub(crate) fn take() -> io::Result<Vec<Inherited>> {
    static TAKEN: AtomicBool = AtomicBool::new(false);
    if TAKEN.swap(true, Ordering::Relaxed) {
        return Ok(Vec::new());
    }
    let passed = sd_notify::listen_fds_with_names()?;
    let owned = passed.map(|(number, name)| {
        // SAFETY: the manager opened the descriptors from number 3 on for this process, as
        // `LISTEN_PID` confirms, and `listen_fds_with_names` has set close-on-exec on each, so they are
        // open. No other code owns them: this runs once, at the start of the process.
        let descriptor = unsafe { OwnedFd::from_raw_fd(number) };
        Inherited { descriptor, name }
    });
    Ok(owned.collect())
}
