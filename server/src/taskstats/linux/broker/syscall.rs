//! The system calls of the broker that no crate wraps safely: fork, closing all descriptors but some, and
//! taking over a descriptor that was received.
#![expect(unsafe_code, reason = "fork(2), close_range(2), _exit(2) and received descriptors")]

use std::fs;
use std::io;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::panic::{AssertUnwindSafe, catch_unwind};

use nix::sys::prctl::set_name;
use nix::sys::signal::SigSet;
use nix::unistd::{ForkResult, fork as nix_fork};

/// The threads of this process.
const THREADS: &str = "/proc/self/task";
/// The name of the child's thread, by which `ps` shows it.
const NAME: &std::ffi::CStr = c"tstatsd-broker";
/// Descriptors of standard input, output and error, which the child keeps.
const STANDARD: [RawFd; 3] = [0, 1, 2];
/// The status with which Rust ends a process that panicked.
const PANICKED: libc::c_int = 101;

/// Runs `child` in a child process, which ends with it. The child has all signals blocked, and no
/// descriptors but `kept` and the standard ones.
///
/// # Errors
/// `InvalidInput` if the process has other threads, which the child would not have; otherwise the
/// error of the system.
pub(super) fn fork(kept: &[RawFd], child: impl FnOnce()) -> io::Result<()> {
    let threads = fs::read_dir(THREADS)?.count();
    if threads != 1 {
        let error = format!("{threads} threads run already; this is a bug of the agent");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, error));
    }
    // SAFETY: this process has one thread, so that no lock is held by a thread that the child lacks.
    match unsafe { nix_fork() }? {
        ForkResult::Parent { .. } => Ok(()),
        ForkResult::Child => {
            let outcome = catch_unwind(AssertUnwindSafe(|| run(kept, child)));
            let status = if outcome.is_ok_and(|outcome| outcome.is_ok()) { 0 } else { PANICKED };
            // SAFETY: it does not return, and runs no handler of the parent's. Nothing of the parent's is
            // dropped in the child: the owners of the descriptors that `run` closed never use them again.
            unsafe { libc::_exit(status) }
        }
    }
}

fn run(kept: &[RawFd], child: impl FnOnce()) -> io::Result<()> {
    // Signals are meant for the agent, also those to the whole process group or control group.
    SigSet::all().thread_block()?;
    set_name(NAME)?;
    close_all_but(kept)?;
    child();
    Ok(())
}

fn close_all_but(kept: &[RawFd]) -> io::Result<()> {
    let mut kept: Vec<RawFd> = kept.iter().copied().chain(STANDARD).collect();
    kept.sort_unstable();
    kept.dedup();
    let mut first = 0;
    for descriptor in kept.into_iter().chain([RawFd::MAX]) {
        if first < descriptor {
            close_range(first, descriptor - 1)?;
        }
        first = descriptor.saturating_add(1);
    }
    Ok(())
}

fn close_range(first: RawFd, last: RawFd) -> io::Result<()> {
    let [first, last] = [first, last].map(libc::c_long::from);
    // SAFETY: the child never returns to the owners of these descriptors.
    let outcome = unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
    if outcome == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Takes over descriptors that one recvmsg(2) returned.
pub(super) fn own(received: impl IntoIterator<Item = RawFd>) -> Vec<OwnedFd> {
    // SAFETY: the kernel made these descriptors for this call, so that they have no other owner.
    received.into_iter().map(|descriptor| unsafe { OwnedFd::from_raw_fd(descriptor) }).collect()
}
