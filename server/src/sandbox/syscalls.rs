//! The system calls of a confined agent, and of its broker.
//!
//! The lists have the calls of traced runs of all features, panics and aborts included, and those that
//! other releases of the C library make in their place. Any other call fails with `EPERM`, above all
//! exec, fork, ptrace, mount, bpf, keyctl, `io_uring`, and internet sockets.

use std::collections::{BTreeMap, BTreeSet};

use libc::c_int;
use seccompiler::SeccompCmpArgLen::{Dword, Qword};
use seccompiler::SeccompCmpOp::{Eq, MaskedEq};
use seccompiler::{BackendError, SeccompCondition as Condition, SeccompRule};

use super::paths::Needs;

/// Calls that are allowed with any arguments, each of which the tests make.
const ANY_ARGUMENTS: &[i64] = &[
    // Memory.
    libc::SYS_brk,
    libc::SYS_madvise,
    libc::SYS_munmap,
    // Files of procfs and sysfs, and certificates. Landlock restricts the paths.
    libc::SYS_close,
    libc::SYS_getdents64,
    libc::SYS_lseek,
    libc::SYS_newfstatat,
    libc::SYS_openat,
    libc::SYS_pread64,
    libc::SYS_read,
    libc::SYS_statx,
    libc::SYS_write,
    libc::SYS_writev,
    // Waiting.
    libc::SYS_clock_nanosleep,
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_eventfd2,
    libc::SYS_futex,
    libc::SYS_restart_syscall,
    libc::SYS_sched_yield,
    // Accepted connections, and netlink sockets that the broker opened.
    libc::SYS_accept4,
    libc::SYS_getsockname,
    libc::SYS_getsockopt,
    libc::SYS_recvfrom,
    libc::SYS_recvmmsg,
    libc::SYS_recvmsg,
    libc::SYS_shutdown,
    // Threads: their start and end.
    libc::SYS_exit,
    libc::SYS_gettid,
    libc::SYS_rseq,
    libc::SYS_sched_getaffinity,
    libc::SYS_set_robust_list,
    libc::SYS_sigaltstack,
    // A second filter fails it with ENOSYS, so that threads are started by `clone`.
    libc::SYS_clone3,
    // Signals, and an abort after a panic.
    libc::SYS_exit_group,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    // The process and the machine.
    libc::SYS_getegid,
    libc::SYS_geteuid,
    libc::SYS_getpid,
    libc::SYS_getrandom,
];

/// Older calls of this architecture alone, which the tests make, too.
#[cfg(target_arch = "x86_64")]
const OLDER: &[i64] = &[libc::SYS_epoll_wait, libc::SYS_poll, libc::SYS_unlink];
#[cfg(not(target_arch = "x86_64"))]
const OLDER: &[i64] = &[];

/// Calls that other releases of the C library, or other architectures, make in place of these.
const OTHER_LIBRARIES: &[i64] = &[
    // Memory: a list that grows in one piece.
    libc::SYS_mremap,
    // Files.
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_fstat,
    libc::SYS_readlinkat,
    libc::SYS_unlinkat,
    // The current directory, to which the paths of a backtrace are relative.
    libc::SYS_getcwd,
    // Waiting.
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_pwait2,
    libc::SYS_nanosleep,
    libc::SYS_ppoll,
    // Clocks, where the vDSO does not read them.
    libc::SYS_clock_gettime,
    libc::SYS_gettimeofday,
    // The start of a thread, and the memory of the machine, from which sorting derives that of a copy.
    libc::SYS_set_tid_address,
    libc::SYS_sysinfo,
];

/// The same of this architecture alone.
#[cfg(target_arch = "x86_64")]
const OLDER_OF_OTHER_LIBRARIES: &[i64] = &[
    libc::SYS_access,
    libc::SYS_lstat,
    libc::SYS_open,
    libc::SYS_readlink,
    libc::SYS_stat,
    libc::SYS_time,
];
#[cfg(not(target_arch = "x86_64"))]
const OLDER_OF_OTHER_LIBRARIES: &[i64] = &[];

/// Calls that are allowed with some arguments, and are made after an error: to connect to a service manager that was
/// restarted, to watch other directories, to abort. And those by which other libraries set a descriptor's mode,
/// and replace a file.
const AFTER_AN_ERROR: &[i64] = &[
    libc::SYS_connect,
    libc::SYS_inotify_init1,
    libc::SYS_inotify_rm_watch,
    libc::SYS_ioctl,
    libc::SYS_renameat2,
    libc::SYS_socket,
    libc::SYS_tgkill,
];

/// Calls of the broker that are made only after an error, and for a long reply.
const SELDOM_OF_BROKER: &[i64] = &[
    libc::SYS_brk,
    libc::SYS_madvise,
    libc::SYS_mmap,
    libc::SYS_mprotect,
    libc::SYS_mremap,
    libc::SYS_munmap,
    libc::SYS_write,
];

/// Calls that write the files of `--state-dir`.
#[cfg(target_arch = "x86_64")]
const WRITING: &[i64] = &[libc::SYS_rename, libc::SYS_renameat2];
#[cfg(not(target_arch = "x86_64"))]
const WRITING: &[i64] = &[libc::SYS_renameat, libc::SYS_renameat2];

/// Calls that could make memory executable.
const MAPPING: &[i64] = &[libc::SYS_mmap, libc::SYS_mprotect];

/// Commands of fcntl(2). `F_SETOWN` and `F_SETSIG` would send signals to other processes.
const FCNTL: [c_int; 6] = [
    libc::F_DUPFD,
    libc::F_DUPFD_CLOEXEC,
    libc::F_GETFD,
    libc::F_SETFD,
    libc::F_GETFL,
    libc::F_SETFL,
];

/// Options of setsockopt(2), by level: sizes of buffers, and no delay of TCP.
const SOCKET_OPTIONS: [(c_int, c_int); 3] = [
    (libc::SOL_SOCKET, libc::SO_SNDBUF),
    (libc::SOL_SOCKET, libc::SO_RCVBUF),
    (libc::IPPROTO_TCP, libc::TCP_NODELAY),
];

/// Calls that the broker makes with any arguments, beside [`SELDOM_OF_BROKER`].
const OF_BROKER: &[i64] = &[
    // Requests of the agent, and requests to the kernel. Netlink needs `bind`: landlock refuses TCP ports.
    libc::SYS_bind,
    libc::SYS_close,
    libc::SYS_getsockopt,
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    // The end.
    libc::SYS_exit_group,
    libc::SYS_futex,
];

/// Options of the sockets that the broker opens. With `CAP_NET_ADMIN`, others change marks, devices, the
/// state of TCP or the packet filter.
const SOCKET_OPTIONS_OF_BROKER: [c_int; 3] =
    [libc::SO_RCVBUF, libc::SO_RCVBUFFORCE, libc::SO_ATTACH_BPF];

/// Namespaces, which `clone` could make.
const NAMESPACES: c_int = libc::CLONE_NEWCGROUP
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWNET
    | libc::CLONE_NEWNS
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWUSER
    | libc::CLONE_NEWUTS;

/// The rules of calls that are allowed with some arguments.
pub(super) type Rules = BTreeMap<i64, Vec<SeccompRule>>;

/// Returns each allowed call with the arguments that it may have. No rules mean any arguments.
pub(super) fn allowed(needs: &Needs) -> Result<Rules, BackendError> {
    let others = OTHER_LIBRARIES.iter().chain(OLDER_OF_OTHER_LIBRARIES);
    let any = ANY_ARGUMENTS.iter().chain(OLDER).chain(others);
    let writing = WRITING.iter().filter(|_| needs.writes);
    let mut rules: Rules = any.chain(writing).map(|call| (*call, Vec::new())).collect();
    if !needs.inotify_masks.is_empty() {
        allow_watching(&mut rules, &needs.inotify_masks)?;
    }
    if needs.notifies {
        rules.insert(libc::SYS_connect, Vec::new());
    }
    allow_processes(&mut rules)?;
    allow_sockets(&mut rules)?;
    allow_descriptors(&mut rules)?;
    Ok(rules)
}

/// Returns each call that the broker makes, with the arguments that it may have.
pub(super) fn allowed_for_broker() -> Result<Rules, BackendError> {
    // Memory is allowed with some arguments only.
    let seldom = SELDOM_OF_BROKER.iter().filter(|call| !MAPPING.contains(call));
    let mut rules: Rules = OF_BROKER.iter().chain(seldom).map(|call| (*call, Vec::new())).collect();
    allow_memory(&mut rules)?;
    allow_sending(&mut rules)?;
    let generic = [equal(0, libc::AF_NETLINK)?, equal(2, libc::NETLINK_GENERIC)?];
    allow(&mut rules, libc::SYS_socket, generic.to_vec())?;
    for option in SOCKET_OPTIONS_OF_BROKER {
        let conditions = vec![equal(1, libc::SOL_SOCKET)?, equal(2, option)?];
        allow(&mut rules, libc::SYS_setsockopt, conditions)?;
    }
    Ok(rules)
}

/// Returns all calls that are allowed: the process (`agent` or `broker`), the number, and `used` or, for one that
/// is made only by other releases of the C library or after an error, `other`. `tests/syscalls` compares them with those that are made.
#[must_use]
pub fn listed_calls() -> Vec<(&'static str, i64, &'static str)> {
    let needs = Needs { inotify_masks: BTreeSet::from([1]), writes: true, notifies: true };
    let lists = [("agent", allowed(&needs)), ("broker", allowed_for_broker())];
    let listed = lists.into_iter().flat_map(|(process, rules)| {
        let calls = rules.into_iter().flat_map(BTreeMap::into_keys);
        calls.map(move |call| {
            let seldom = match process {
                "agent" => [OTHER_LIBRARIES, OLDER_OF_OTHER_LIBRARIES, AFTER_AN_ERROR].concat(),
                _ => SELDOM_OF_BROKER.to_vec(),
            };
            (process, call, if seldom.contains(&call) { "other" } else { "used" })
        })
    });
    listed.collect()
}

fn allow(rules: &mut Rules, call: i64, conditions: Vec<Condition>) -> Result<(), BackendError> {
    rules.entry(call).or_default().push(SeccompRule::new(conditions)?);
    Ok(())
}

/// Watches for these events, and no others, such as reads of any file.
fn allow_watching(rules: &mut Rules, masks: &BTreeSet<u32>) -> Result<(), BackendError> {
    rules.insert(libc::SYS_inotify_init1, Vec::new());
    rules.insert(libc::SYS_inotify_rm_watch, Vec::new());
    for mask in masks {
        let condition = Condition::new(2, Dword, Eq, (*mask).into())?;
        allow(rules, libc::SYS_inotify_add_watch, vec![condition])?;
    }
    Ok(())
}

/// Memory that can be written or read, and never executed.
fn allow_memory(rules: &mut Rules) -> Result<(), BackendError> {
    MAPPING.iter().try_for_each(|call| allow(rules, *call, vec![without(2, libc::PROT_EXEC)?]))
}

/// With `MSG_FASTOPEN`, a send connects to an address, which landlock does not see.
fn allow_sending(rules: &mut Rules) -> Result<(), BackendError> {
    allow(rules, libc::SYS_sendto, vec![without(3, libc::MSG_FASTOPEN)?])?;
    allow(rules, libc::SYS_sendmsg, vec![without(2, libc::MSG_FASTOPEN)?])
}

/// Threads and memory.
fn allow_processes(rules: &mut Rules) -> Result<(), BackendError> {
    // Threads, and never a process, or a namespace.
    let thread = unsigned(libc::CLONE_THREAD);
    let flags = thread | unsigned(NAMESPACES);
    allow(rules, libc::SYS_clone, vec![Condition::new(0, Qword, MaskedEq(flags), thread)?])?;
    allow_memory(rules)?;
    // The CPU on which a thread of a self-test ends, and never that of another process.
    allow(rules, libc::SYS_sched_setaffinity, vec![equal(0, 0)?])?;
    // Names of threads and of memory, which give no privilege.
    for option in [libc::PR_SET_NAME, libc::PR_GET_NAME, libc::PR_SET_VMA] {
        allow(rules, libc::SYS_prctl, vec![equal(0, option)?])?;
    }
    // Own limits are read, and none are changed.
    allow(rules, libc::SYS_prlimit64, vec![Condition::new(2, Qword, Eq, 0)?])?;
    // The signal of an abort, to the agent itself.
    let own = std::process::id().into();
    allow(rules, libc::SYS_tgkill, vec![Condition::new(0, Dword, Eq, own)?])
}

fn allow_sockets(rules: &mut Rules) -> Result<(), BackendError> {
    // The service manager.
    allow(rules, libc::SYS_socket, vec![equal(0, libc::AF_UNIX)?])?;
    for (level, option) in SOCKET_OPTIONS {
        allow(rules, libc::SYS_setsockopt, vec![equal(1, level)?, equal(2, option)?])?;
    }
    allow_sending(rules)
}

fn allow_descriptors(rules: &mut Rules) -> Result<(), BackendError> {
    for command in FCNTL {
        allow(rules, libc::SYS_fcntl, vec![equal(1, command)?])?;
    }
    // Descriptors that do not block, and the length of inotify's queue.
    for request in [libc::FIONBIO, libc::FIONREAD] {
        allow(rules, libc::SYS_ioctl, vec![Condition::new(1, Dword, Eq, request)?])?;
    }
    Ok(())
}

/// The condition that an argument has none of these bits.
fn without(argument: u8, bits: c_int) -> Result<Condition, BackendError> {
    Condition::new(argument, Dword, MaskedEq(unsigned(bits)), 0)
}

/// The condition that an argument has this value.
fn equal(argument: u8, value: c_int) -> Result<Condition, BackendError> {
    Condition::new(argument, Dword, Eq, unsigned(value))
}

/// The bits of a constant, as the filter compares them.
fn unsigned(value: c_int) -> u64 {
    u64::from(value.cast_unsigned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Calls that start programs, control other processes, load code into the kernel, change the user or
    /// the namespaces, or have the kernel do any of it. None of them must be added by accident.
    const NEVER: &[i64] = &[
        libc::SYS_execve,
        libc::SYS_execveat,
        libc::SYS_ptrace,
        libc::SYS_process_vm_readv,
        libc::SYS_process_vm_writev,
        libc::SYS_pidfd_getfd,
        libc::SYS_pidfd_open,
        libc::SYS_pidfd_send_signal,
        libc::SYS_kill,
        libc::SYS_tkill,
        libc::SYS_rt_sigqueueinfo,
        libc::SYS_rt_tgsigqueueinfo,
        libc::SYS_bpf,
        libc::SYS_io_uring_setup,
        libc::SYS_io_uring_enter,
        libc::SYS_io_uring_register,
        libc::SYS_keyctl,
        libc::SYS_add_key,
        libc::SYS_request_key,
        libc::SYS_perf_event_open,
        libc::SYS_userfaultfd,
        libc::SYS_memfd_create,
        libc::SYS_init_module,
        libc::SYS_finit_module,
        libc::SYS_delete_module,
        libc::SYS_kexec_load,
        libc::SYS_reboot,
        libc::SYS_mount,
        libc::SYS_umount2,
        libc::SYS_move_mount,
        libc::SYS_open_tree,
        libc::SYS_fsopen,
        libc::SYS_pivot_root,
        libc::SYS_chroot,
        libc::SYS_setns,
        libc::SYS_unshare,
        libc::SYS_capset,
        libc::SYS_setuid,
        libc::SYS_setgid,
        libc::SYS_setgroups,
        libc::SYS_setresuid,
        libc::SYS_setresgid,
        libc::SYS_personality,
        libc::SYS_seccomp,
        libc::SYS_listen,
        libc::SYS_linkat,
        libc::SYS_symlinkat,
        libc::SYS_mknodat,
        libc::SYS_mkdirat,
        libc::SYS_fchmod,
        libc::SYS_fchmodat,
        libc::SYS_fchown,
        libc::SYS_fchownat,
        libc::SYS_clock_settime,
        libc::SYS_settimeofday,
        libc::SYS_setrlimit,
        libc::SYS_acct,
        libc::SYS_swapon,
    ];
    #[cfg(target_arch = "x86_64")]
    const NEVER_HERE: &[i64] = &[
        libc::SYS_fork,
        libc::SYS_vfork,
        libc::SYS_modify_ldt,
        libc::SYS_arch_prctl,
        libc::SYS_iopl,
        libc::SYS_ioperm,
        libc::SYS_chmod,
        libc::SYS_chown,
        libc::SYS_link,
        libc::SYS_symlink,
        libc::SYS_mknod,
    ];
    #[cfg(not(target_arch = "x86_64"))]
    const NEVER_HERE: &[i64] = &[];

    fn all() -> Needs {
        let inotify_masks = BTreeSet::from([1]);
        Needs { inotify_masks, writes: true, notifies: true }
    }

    #[test]
    fn no_call_is_allowed_that_gives_privileges_or_controls_other_processes() {
        for allowed in [allowed(&all()).unwrap(), allowed_for_broker().unwrap()] {
            let forbidden = NEVER.iter().chain(NEVER_HERE);
            let found: Vec<_> = forbidden.filter(|call| allowed.contains_key(call)).collect();
            assert!(found.is_empty(), "system calls {found:?} are allowed");
        }
    }

    /// Issue 11: what an agent does not use, an attacker in it must not use either.
    #[test]
    fn calls_are_allowed_only_where_they_are_needed() {
        let least = allowed(&Needs::default()).unwrap();
        let most = allowed(&all()).unwrap();
        for call in [
            libc::SYS_connect,
            libc::SYS_inotify_add_watch,
            libc::SYS_inotify_init1,
            libc::SYS_renameat2,
        ] {
            assert!(!least.contains_key(&call) && most.contains_key(&call), "call {call}");
        }
    }

    /// Calls with many uses are allowed with some arguments only.
    #[test]
    fn calls_with_many_uses_are_not_allowed_with_any_arguments() {
        let allowed = allowed(&all()).unwrap();
        for call in [
            libc::SYS_clone,
            libc::SYS_fcntl,
            libc::SYS_inotify_add_watch,
            libc::SYS_ioctl,
            libc::SYS_mmap,
            libc::SYS_mprotect,
            libc::SYS_prctl,
            libc::SYS_prlimit64,
            libc::SYS_sendmsg,
            libc::SYS_sendto,
            libc::SYS_setsockopt,
            libc::SYS_socket,
            libc::SYS_tgkill,
        ] {
            assert!(allowed.get(&call).is_some_and(|rules| !rules.is_empty()), "call {call}");
        }
    }
}
