//! System calls of a running agent, as code that took it over would make them.

use std::thread;

use anyhow::{Context, Result, anyhow};
use nix::errno::Errno;
use nix::libc;
use nix::unistd::Pid;
use taskstats_tests::agent::Agent;
use taskstats_tests::injector::Argument::{Bytes, Number};
use taskstats_tests::injector::{Argument, Injector, Outcome};
use taskstats_tests::machine_lock::MachineLock;

use super::broker::broker_of;
use super::{NOBODY, use_all};

/// A system call, and the outcome that the sandbox permits.
struct Attempt {
    name: &'static str,
    call: i64,
    arguments: Vec<Argument<'static>>,
    /// The error of the sandbox; `None` for a call that serving needs.
    refused: Option<Errno>,
}

/// The length of a page.
const PAGE: i64 = 4096;
/// The process that no one may signal or trace.
const INIT: Argument<'static> = Number(1);
const NOTHING: Argument<'static> = Number(0);

fn refused(
    name: &'static str,
    call: i64,
    arguments: &[Argument<'static>],
    error: Errno,
) -> Attempt {
    Attempt { name, call, arguments: arguments.to_vec(), refused: Some(error) }
}

fn number(value: libc::c_int) -> Argument<'static> {
    Number(value.into())
}

fn open(path: &'static [u8], flags: libc::c_int) -> [Argument<'static>; 4] {
    [number(libc::AT_FDCWD), Bytes(path), number(flags), Number(0o600)]
}

/// Calls without an effect, if they are not refused.
fn harmless() -> Vec<Attempt> {
    use Errno::{EACCES, EPERM};
    let memory = |protection| {
        let flags = number(libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        [NOTHING, Number(PAGE), number(protection), flags, Number(-1), NOTHING]
    };
    let socket = |family, kind, protocol| [number(family), number(kind), number(protocol)];
    let stream = socket(libc::AF_INET, libc::SOCK_STREAM, 0);
    let routing = socket(libc::AF_NETLINK, libc::SOCK_RAW, libc::NETLINK_ROUTE);
    let generic = socket(libc::AF_NETLINK, libc::SOCK_RAW, libc::NETLINK_GENERIC);
    let executable = memory(libc::PROT_READ | libc::PROT_EXEC);
    let readable = Attempt {
        name: "read procfs",
        call: libc::SYS_openat,
        arguments: open(b"/proc/self/status\0", libc::O_RDONLY).to_vec(),
        refused: None,
    };
    vec![
        readable,
        refused("read a file", libc::SYS_openat, &open(b"/etc/passwd\0", libc::O_RDONLY), EACCES),
        refused("open a network socket", libc::SYS_socket, &stream, EPERM),
        refused("open routing netlink", libc::SYS_socket, &routing, EPERM),
        refused("open generic netlink", libc::SYS_socket, &generic, EPERM),
        refused("map executable memory", libc::SYS_mmap, &executable, EPERM),
        refused("see whether a process exists", libc::SYS_kill, &[INIT, NOTHING], EPERM),
    ]
}

/// Calls that an attacker would make.
fn harmful() -> Vec<Attempt> {
    use Errno::{EACCES, ENOSYS, EPERM};
    let to_create = open(b"/tmp/taskstats-injected\0", libc::O_CREAT | libc::O_WRONLY);
    let setting = open(b"/proc/sys/kernel/hostname\0", libc::O_WRONLY);
    let fast_open = [NOTHING, Bytes(b"x"), Number(1), number(libc::MSG_FASTOPEN), NOTHING, NOTHING];
    let mark =
        [NOTHING, number(libc::SOL_SOCKET), number(libc::SO_MARK), Bytes(&[0; 4]), Number(4)];
    let program = [Bytes(b"/bin/true\0"), NOTHING, NOTHING];
    let child = [number(libc::SIGCHLD), NOTHING, NOTHING, NOTHING, NOTHING];
    let trace = [Number(libc::PTRACE_ATTACH.into()), INIT, NOTHING, NOTHING];
    let bind = [INIT, Number(8), Bytes(&[1, 0, 0, 0, 0, 0, 0, 0])];
    let mount = [NOTHING, Bytes(b"/\0"), NOTHING, number(0), NOTHING];
    vec![
        refused("write a file", libc::SYS_openat, &to_create, EACCES),
        refused("write a setting", libc::SYS_openat, &setting, EACCES),
        refused("remove a file", libc::SYS_unlink, &[Bytes(b"/etc/passwd\0")], EACCES),
        refused("connect by fast open", libc::SYS_sendto, &fast_open, EPERM),
        refused("mark a socket", libc::SYS_setsockopt, &mark, EPERM),
        refused("start a program", libc::SYS_execve, &program, EPERM),
        refused("start a process", libc::SYS_clone, &child, EPERM),
        refused("start a process by fork", libc::SYS_fork, &[], EPERM),
        refused("start a process by clone3", libc::SYS_clone3, &[NOTHING, NOTHING], ENOSYS),
        refused("become root", libc::SYS_setuid, &[NOTHING], EPERM),
        refused("enter a namespace", libc::SYS_unshare, &[number(libc::CLONE_NEWUSER)], EPERM),
        refused("trace a process", libc::SYS_ptrace, &trace, EPERM),
        refused("bind a process to a CPU", libc::SYS_sched_setaffinity, &bind, EPERM),
        refused("load a filter", libc::SYS_bpf, &[NOTHING, NOTHING, NOTHING], EPERM),
        refused("mount", libc::SYS_mount, &mount, EPERM),
        refused("read keys", libc::SYS_keyctl, &[NOTHING, NOTHING], EPERM),
        refused("load a module", libc::SYS_init_module, &[NOTHING, NOTHING, NOTHING], EPERM),
    ]
}

/// The same calls in the broker, which opens no file, but netlink sockets.
fn in_broker(attempt: Attempt) -> Attempt {
    let refused = match attempt.name {
        "open generic netlink" => None,
        _ => Some(Errno::EPERM),
    };
    Attempt { refused, ..attempt }
}

/// Makes the calls in the main thread of a process. Only the thread that attached may do it.
fn inject(process: u32, attempts: Vec<Attempt>) -> Result<Vec<(Attempt, Outcome)>> {
    let pid = Pid::from_raw(process.try_into()?);
    let injecting = thread::spawn(move || {
        let mut injector = Injector::attach(pid, pid)?;
        let outcomes = attempts.into_iter().map(|attempt| {
            let outcome = injector.call(attempt.call, &attempt.arguments);
            Ok((attempt, outcome?))
        });
        outcomes.collect()
    });
    injecting.join().map_err(|_| anyhow!("the injecting thread panicked"))?
}

/// A confined agent can neither start programs, nor read or write files, nor reach the network, nor gain
/// privileges, and serves afterwards.
#[tokio::test]
async fn a_running_agent_cannot_be_used_against_the_node() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let agent = Agent::start_with(["--user", NOBODY]).await?;
    use_all(&agent).await?;
    let attempts = harmless().into_iter().chain(harmful()).collect();
    for (attempt, outcome) in inject(agent.pid()?, attempts).context("inject system calls")? {
        assert_eq!(outcome.err(), attempt.refused, "{}", attempt.name);
    }
    use_all(&agent).await
}

/// The broker can do nothing of it either, and serves the agent afterwards.
#[tokio::test]
async fn a_running_broker_cannot_be_used_against_the_node() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let agent = Agent::start_with(["--user", NOBODY]).await?;
    use_all(&agent).await?;
    let attempts = harmless().into_iter().chain(harmful()).map(in_broker).collect();
    let outcomes = inject(broker_of(&agent)?, attempts).context("inject system calls")?;
    for (attempt, outcome) in outcomes {
        assert_eq!(outcome.err(), attempt.refused, "{}", attempt.name);
    }
    use_all(&agent).await
}

/// Without the sandbox the same calls succeed, so a failure is due to the sandbox.
#[tokio::test]
async fn an_agent_without_a_sandbox_can_make_the_same_calls() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let agent = Agent::start_with(["--no-sandbox"]).await?;
    for (attempt, outcome) in inject(agent.pid()?, harmless()).context("inject system calls")? {
        assert_eq!(outcome.err(), None, "{}", attempt.name);
    }
    use_all(&agent).await
}
