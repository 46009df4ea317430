//! The system calls of a confined agent.
//!
//! The list is that of traced runs of all features, panics and aborts included, and the calls that
//! another release of the C library makes in their place. What is not here ends with `EPERM`: above
//! all exec, fork, ptrace, mount, bpf, keyctl, `io_uring`, and sockets of the internet.

use std::collections::BTreeMap;

use libc::c_int;
use seccompiler::SeccompCmpArgLen::{Dword, Qword};
use seccompiler::SeccompCmpOp::{Eq, MaskedEq};
use seccompiler::{BackendError, SeccompCondition as Condition, SeccompRule};

/// Allowed with any arguments.
const ANY_ARGUMENTS: &[i64] = &[
    // Memory.
    libc::SYS_brk,
    libc::SYS_madvise,
    libc::SYS_mremap,
    libc::SYS_munmap,
    // Files: procfs, sysfs, the hand-over, certificates. Landlock says which.
    libc::SYS_close,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_fcntl,
    libc::SYS_fdatasync,
    libc::SYS_fstat,
    libc::SYS_fsync,
    libc::SYS_ftruncate,
    libc::SYS_getcwd,
    libc::SYS_getdents64,
    libc::SYS_lseek,
    libc::SYS_newfstatat,
    libc::SYS_openat,
    libc::SYS_pread64,
    libc::SYS_read,
    libc::SYS_readlinkat,
    libc::SYS_readv,
    libc::SYS_renameat2,
    libc::SYS_statx,
    libc::SYS_unlinkat,
    libc::SYS_write,
    libc::SYS_writev,
    // Certificates that change.
    libc::SYS_inotify_add_watch,
    libc::SYS_inotify_init1,
    libc::SYS_inotify_rm_watch,
    // Waiting.
    libc::SYS_clock_nanosleep,
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_pwait2,
    libc::SYS_eventfd2,
    libc::SYS_futex,
    libc::SYS_nanosleep,
    libc::SYS_ppoll,
    libc::SYS_restart_syscall,
    libc::SYS_sched_yield,
    // Clocks, where the vDSO cannot answer.
    libc::SYS_clock_getres,
    libc::SYS_clock_gettime,
    libc::SYS_gettimeofday,
    // Connections, and netlink. `bind` is netlink's: landlock refuses TCP ports.
    libc::SYS_accept4,
    libc::SYS_bind,
    libc::SYS_connect,
    libc::SYS_getpeername,
    libc::SYS_getsockname,
    libc::SYS_getsockopt,
    libc::SYS_recvfrom,
    libc::SYS_recvmmsg,
    libc::SYS_recvmsg,
    libc::SYS_sendmsg,
    libc::SYS_sendto,
    libc::SYS_shutdown,
    // Threads: their start and end, and the CPU that a self-test pins one to.
    libc::SYS_exit,
    libc::SYS_get_robust_list,
    libc::SYS_gettid,
    libc::SYS_membarrier,
    libc::SYS_rseq,
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_setaffinity,
    libc::SYS_set_robust_list,
    libc::SYS_set_tid_address,
    libc::SYS_sigaltstack,
    // Refused by a filter of its own with ENOSYS, so that threads are started by `clone`.
    libc::SYS_clone3,
    // Signals, and the way from a panic to an abort.
    libc::SYS_exit_group,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    // Who and where one is.
    libc::SYS_capget,
    libc::SYS_getegid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getpid,
    libc::SYS_getrandom,
    libc::SYS_getrusage,
    libc::SYS_getuid,
    libc::SYS_sysinfo,
    libc::SYS_uname,
];

/// Older calls that only this architecture has; the C library still makes some of them.
#[cfg(target_arch = "x86_64")]
const OLDER: &[i64] = &[
    libc::SYS_access,
    libc::SYS_epoll_wait,
    libc::SYS_lstat,
    libc::SYS_open,
    libc::SYS_poll,
    libc::SYS_readlink,
    libc::SYS_rename,
    libc::SYS_stat,
    libc::SYS_time,
    libc::SYS_unlink,
];
#[cfg(not(target_arch = "x86_64"))]
const OLDER: &[i64] = &[libc::SYS_renameat];

/// Namespaces, which `clone` could make.
const NAMESPACES: c_int = libc::CLONE_NEWCGROUP
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWNET
    | libc::CLONE_NEWNS
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWUSER
    | libc::CLONE_NEWUTS;

/// Each allowed call with the arguments that it may have; none are any.
pub(super) fn allowed() -> Result<BTreeMap<i64, Vec<SeccompRule>>, BackendError> {
    let any = ANY_ARGUMENTS.iter().chain(OLDER).map(|call| (*call, Vec::new()));
    let mut rules: BTreeMap<_, _> = any.collect();
    let mut allow = |call, conditions| -> Result<(), BackendError> {
        rules.entry(call).or_default().push(SeccompRule::new(conditions)?);
        Ok(())
    };
    // Threads, and never a process, or a namespace.
    let thread = unsigned(libc::CLONE_THREAD);
    let flags = thread | unsigned(NAMESPACES);
    allow(libc::SYS_clone, vec![Condition::new(0, Qword, MaskedEq(flags), thread)?])?;
    // Memory that can be written or read, and never executed.
    let executable = MaskedEq(unsigned(libc::PROT_EXEC));
    for call in [libc::SYS_mmap, libc::SYS_mprotect] {
        allow(call, vec![Condition::new(2, Dword, executable.clone(), 0)?])?;
    }
    // The service manager; and of netlink, the generic kind. CAP_NET_ADMIN would let the agent
    // change routes, addresses and filters by others.
    allow(libc::SYS_socket, vec![equal(0, libc::AF_UNIX)?])?;
    allow(libc::SYS_socket, vec![equal(0, libc::AF_NETLINK)?, equal(2, libc::NETLINK_GENERIC)?])?;
    // Buffers, acknowledgements of netlink, and TCP's own; with those of IP, CAP_NET_ADMIN would let
    // an accepted connection change the packet filter.
    for level in [libc::SOL_SOCKET, libc::SOL_NETLINK, libc::IPPROTO_TCP] {
        allow(libc::SYS_setsockopt, vec![equal(1, level)?])?;
    }
    // Names of threads and of memory. Not one of them gives a right.
    for option in [libc::PR_SET_NAME, libc::PR_GET_NAME, libc::PR_SET_VMA] {
        allow(libc::SYS_prctl, vec![equal(0, option)?])?;
    }
    // Descriptors that do not block, and inotify's length. CAP_NET_ADMIN would let the agent set up
    // network interfaces by others.
    for request in [libc::FIONBIO, libc::FIONREAD] {
        allow(libc::SYS_ioctl, vec![Condition::new(1, Dword, Eq, request)?])?;
    }
    // The own limits are read; nobody's are changed.
    allow(libc::SYS_prlimit64, vec![Condition::new(2, Qword, Eq, 0)?])?;
    // An abort's signal, to the agent itself.
    let own = std::process::id().into();
    allow(libc::SYS_tgkill, vec![Condition::new(0, Dword, Eq, own)?])?;
    Ok(rules)
}

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

    /// What starts programs, reaches into other processes, loads code into the kernel, changes who one
    /// is or what one sees, or has the kernel do any of it: nobody adds one of them in passing.
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

    #[test]
    fn nothing_is_allowed_that_gives_rights_or_takes_them_from_others() {
        let allowed = allowed().unwrap();
        let forbidden = NEVER.iter().chain(NEVER_HERE);
        let found: Vec<_> = forbidden.filter(|call| allowed.contains_key(call)).collect();
        assert!(found.is_empty(), "system calls {found:?} are allowed");
    }

    /// Calls that do many things are allowed with some arguments only.
    #[test]
    fn calls_of_many_uses_are_not_allowed_with_any_arguments() {
        let allowed = allowed().unwrap();
        for call in [
            libc::SYS_clone,
            libc::SYS_ioctl,
            libc::SYS_mmap,
            libc::SYS_mprotect,
            libc::SYS_prctl,
            libc::SYS_prlimit64,
            libc::SYS_setsockopt,
            libc::SYS_socket,
            libc::SYS_tgkill,
        ] {
            assert!(allowed.get(&call).is_some_and(|rules| !rules.is_empty()), "call {call}");
        }
    }
}
