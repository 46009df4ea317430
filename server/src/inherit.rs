//! Descriptors that the service manager passed to this process (`sd_listen_fds(3)`).
#![expect(unsafe_code, reason = "the manager tells descriptors by number")]

use std::io;
use std::os::fd::{FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};

/// A descriptor and the name that the manager gave it.
#[derive(Debug)]
pub struct Inherited {
    /// The descriptor, closed in children.
    pub descriptor: OwnedFd,
    /// Its name: of a socket unit, or the one under which it was stored.
    pub name: String,
}

/// Takes the descriptors that were passed. There are some only at the first call; call it before
/// anything else opens a descriptor.
///
/// # Errors
/// When the manager's variables are malformed.
pub fn take() -> io::Result<Vec<Inherited>> {
    static TAKEN: AtomicBool = AtomicBool::new(false);
    if TAKEN.swap(true, Ordering::Relaxed) {
        return Ok(Vec::new());
    }
    let passed = sd_notify::listen_fds_with_names()?;
    let owned = passed.map(|(number, name)| {
        // SAFETY: the manager opened the descriptors from number 3 on for this process, as
        // `LISTEN_PID` confirms, and they were made close-on-exec just now, so they are open. Nobody
        // else owns them: they are taken once, above, at the start of the process.
        let descriptor = unsafe { OwnedFd::from_raw_fd(number) };
        Inherited { descriptor, name }
    });
    Ok(owned.collect())
}
