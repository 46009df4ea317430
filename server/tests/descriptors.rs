//! Queries of a process that has no free file descriptors. A process of its own, because it lowers its
//! limit.

use std::fs::File;
use std::process;
use std::sync::Barrier;
use std::thread;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use taskstatsd::taskstats::{Kernel, KernelError, LinuxKernel, TaskId};

const RECEIVE_BUFFER: usize = 64 << 10;
/// Descriptors of this process: more than the standard ones and the socket for queries.
const LIMIT: u64 = 64;
const THREADS: usize = 4;
/// Enough that some of them are concurrent.
const QUERIES: usize = 2000;

/// Concurrent queries share the one open socket when no second one can be opened.
#[test]
fn queries_wait_for_a_socket_when_descriptors_run_out() {
    let own = TaskId::Tgid(process::id());
    let kernel = LinuxKernel::new(RECEIVE_BUFFER).unwrap();
    kernel.query(own).unwrap();
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, LIMIT, hard).unwrap();
    let full: Vec<File> = (0..LIMIT).map_while(|_| File::open("/dev/null").ok()).collect();
    assert!(File::open("/dev/null").is_err(), "a descriptor is left");

    let start = Barrier::new(THREADS);
    let repeat = || {
        start.wait();
        (0..QUERIES).try_for_each(|_| kernel.query(own).map(drop))
    };
    let outcomes: Vec<Result<(), KernelError>> = thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(repeat)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    drop(full);
    for outcome in outcomes {
        outcome.unwrap();
    }
}
