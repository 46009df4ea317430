//! Tries what the agent's sandbox allows and what it forbids, from inside.
//!
//! Prints a line for each attempt: its name, and `ok` or the kernel's error. The argument `free`
//! tries the same without the sandbox; `abort` aborts in the sandbox. `calls` prints the system calls that the
//! sandbox allows: the process, the number, and `used`, or `other` for other C libraries and errors.

use std::fs::{self, File};
use std::io::{self, IoSlice};
use std::net::TcpListener;
use std::os::fd::AsRawFd;
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::Path;
use std::process::Command;
use std::thread;

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::sched::{CloneFlags, CpuSet, sched_getaffinity, sched_setaffinity, unshare};
use nix::sys::signal::kill;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, send, sendmsg, setsockopt, socket,
    sockopt,
};
use nix::unistd::{Pid, Uid, getppid, setresuid};
use rustix::fs::inotify;
use rustix::net::sockopt::set_ip_ttl;
use taskstatsd::sandbox::{self, Paths};

/// The user to become.
const USER: &str = "61000:61000";
/// Anyone may read it, and the agent does not need to.
const READABLE: &str = "/etc/passwd";

type Attempt = (&'static str, fn(&Path) -> io::Result<()>);

const ATTEMPTS: &[Attempt] = &[
    ("read procfs", |_| fs::read_to_string("/proc/1/stat").map(drop)),
    ("read sysfs", |_| fs::read_to_string("/sys/devices/system/cpu/online").map(drop)),
    ("list threads", |_| fs::read_dir("/proc/1/task").map(drop)),
    ("keep state", |directory| {
        fs::write(directory.join("handover.new"), "state")?;
        fs::rename(directory.join("handover.new"), directory.join("handover"))?;
        fs::read(directory.join("handover"))?;
        fs::remove_file(directory.join("handover"))
    }),
    ("start a thread", |_| {
        thread::Builder::new().spawn(|| ())?.join().map_err(|_| io::Error::other("it panicked"))
    }),
    ("pin a thread", |_| {
        let cpus: CpuSet = sched_getaffinity(Pid::from_raw(0))?;
        Ok(sched_setaffinity(Pid::from_raw(0), &cpus)?)
    }),
    ("panic", |_| panic_and_go_on()),
    ("open generic netlink", |_| netlink(SockProtocol::NetlinkGeneric)),
    ("open routing netlink", |_| netlink(SockProtocol::NetlinkRoute)),
    ("open an internet socket", |_| open(AddressFamily::Inet, SockType::Stream, None)),
    ("listen on a port", |_| TcpListener::bind("127.0.0.1:0").map(drop)),
    ("set an option of IP", |_| Ok(set_ip_ttl(UnixStream::pair()?.0, 1)?)),
    ("send with fast open", |_| {
        let (socket, _peer) = UnixDatagram::pair()?;
        Ok(send(socket.as_raw_fd(), b"x", fast_open()).map(drop)?)
    }),
    ("send a message with fast open", |_| {
        let (socket, _peer) = UnixDatagram::pair()?;
        let parts = [IoSlice::new(b"x")];
        Ok(sendmsg::<()>(socket.as_raw_fd(), &parts, &[], fast_open(), None).map(drop)?)
    }),
    ("mark a socket", |_| Ok(setsockopt(&UnixDatagram::unbound()?, sockopt::Mark, &1)?)),
    ("connect", |_| UnixStream::connect("/nonexistent").map(drop)),
    ("watch a directory", |_| {
        let watcher = inotify::init(inotify::CreateFlags::empty())?;
        Ok(inotify::add_watch(&watcher, "/etc", inotify::WatchFlags::ACCESS).map(drop)?)
    }),
    ("read another file", |_| File::open(READABLE).map(drop)),
    ("list another directory", |_| fs::read_dir("/").map(drop)),
    ("make a socket", |directory| UnixListener::bind(directory.join("socket")).map(drop)),
    ("make a link", |directory| std::os::unix::fs::symlink("/", directory.join("link"))),
    ("write a setting", |_| File::options().write(true).open("/proc/self/comm").map(drop)),
    ("execute", |_| Command::new("/bin/true").status().map(drop)),
    ("signal the parent", |_| Ok(kill(getppid(), None)?)),
    ("unshare", |_| Ok(unshare(CloneFlags::CLONE_FS)?)),
    ("become root", |_| {
        let root = Uid::from_raw(0);
        Ok(setresuid(root, root, root)?)
    }),
];

#[expect(clippy::panic, reason = "it is what is tried")]
fn panic_and_go_on() -> io::Result<()> {
    match thread::spawn(|| panic!("tried")).join() {
        Ok(()) => Err(Errno::ECANCELED.into()),
        Err(_) => Ok(()),
    }
}

fn main() -> Result<()> {
    let how = std::env::args().nth(1);
    if how.as_deref() == Some("calls") {
        for (process, call, use_) in sandbox::listed_calls() {
            println!("{process} {call} {use_}");
        }
        return Ok(());
    }
    let directory = tempfile::tempdir()?;
    let state = directory.path().join("state");
    fs::create_dir(&state)?;
    fs::set_permissions(directory.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    if how.as_deref() != Some("free") {
        let mut paths = Paths::new();
        paths.keep_state(&state);
        let in_force = sandbox::enter(Some(&USER.parse()?), &paths)?;
        eprintln!("{in_force}");
    }
    if how.as_deref() == Some("abort") {
        std::process::abort();
    }
    for (name, attempt) in ATTEMPTS {
        match attempt(&state) {
            Ok(()) => println!("{name}: ok"),
            Err(error) => {
                let errno = error.raw_os_error().with_context(|| format!("{name}: {error}"))?;
                println!("{name}: {:?}", Errno::from_raw(errno));
            }
        }
    }
    // The sandbox forbids to remove it; the parent does.
    println!("directory: {}", directory.keep().display());
    Ok(())
}

/// Makes a send connect to an address (`MSG_FASTOPEN` in `include/linux/socket.h`).
fn fast_open() -> MsgFlags {
    MsgFlags::from_bits_retain(nix::libc::MSG_FASTOPEN)
}

fn netlink(protocol: SockProtocol) -> io::Result<()> {
    open(AddressFamily::Netlink, SockType::Raw, Some(protocol))
}

fn open(family: AddressFamily, kind: SockType, protocol: Option<SockProtocol>) -> io::Result<()> {
    let opened = match protocol {
        Some(protocol) => socket(family, kind, SockFlag::SOCK_CLOEXEC, protocol),
        None => socket(family, kind, SockFlag::SOCK_CLOEXEC, None),
    };
    Ok(opened.map(drop)?)
}
