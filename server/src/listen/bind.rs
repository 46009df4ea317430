//! Binds listeners.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::net::ToSocketAddrs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::sys::stat::{Mode, umask};
use nix::unistd::geteuid;
use socket2::{Domain, SockAddr, SockRef, Socket, Type};
use tokio::net::{TcpListener, UnixListener};

use super::{BindError, ListenAddress};
use crate::directory_trust::find_exposed;
use crate::inherit::Inherited;
use crate::regular_file;

/// The directory of the default socket. It is made if it is missing, so that the agent starts without
/// preparations.
pub(crate) const DEFAULT_DIRECTORY: &str = "/run/taskstatsd";
/// Every user may enter: the mode of the socket decides who may connect.
const DIRECTORY_MODE: u32 = 0o755;
/// The bits that a socket does not have: its owner and group may connect (0660).
const SOCKET_UMASK: Mode = Mode::from_bits_truncate(0o117);
/// The queue of connections to accept, bounded by the sysctl net.core.somaxconn.
const SOCKET_QUEUE: i32 = libc::SOMAXCONN;
/// Read and write for the agent alone.
const LOCK_MODE: u32 = 0o600;

/// A bound listener.
#[derive(Debug)]
pub(crate) enum Listener {
    /// On a path; with its file, unless a service manager made it.
    Unix(UnixListener, Option<SocketFile>),
    /// On a port.
    Tcp(TcpListener),
}

/// A socket's file, removed with the listener.
///
/// It is left if another file is at its path by then, or if the agent has become a user who may not
/// remove it: the directory is not given to that user, because root would then trust it.
#[derive(Debug)]
pub(crate) struct SocketFile {
    path: PathBuf,
    inode: u64,
    /// Held as long as the socket exists, so that no other agent considers it stale.
    _lock: File,
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if fs::symlink_metadata(&self.path).is_ok_and(|file| file.ino() == self.inode) {
            // Nothing can be done about a failure, and a stale socket is replaced at the next start.
            drop(fs::remove_file(&self.path));
        }
    }
}

impl Listener {
    /// Binds a listener. A socket file without a listener is replaced; one with a listener is left.
    ///
    /// `trusted` are the users beside root who may be able to change the socket's directory, such as
    /// the one that the agent becomes. With other such users, an agent with root's privileges refuses
    /// the directory, and any other agent warns about it. The process must have a single thread,
    /// because the file mode creation mask is changed for a short time.
    ///
    /// # Errors
    /// Why the address cannot be listened on.
    pub(crate) async fn bind(address: &ListenAddress, trusted: &[u32]) -> Result<Self, BindError> {
        match address {
            ListenAddress::Unix(path) => bind_unix(address, path, trusted),
            ListenAddress::Tcp { host, port } => bind_tcp(address, host, *port).await,
        }
    }

    /// Adopts a socket that a service manager bound and listens on.
    ///
    /// # Errors
    /// When the descriptor is no listening unix or TCP socket.
    pub(crate) fn adopt(inherited: Inherited) -> Result<Self, BindError> {
        let Inherited { descriptor, name } = inherited;
        let adopted = adopt(descriptor);
        adopted.map_err(|source| BindError::Inherited { name, source })
    }

    /// Returns the address in full, with the port that the system chose.
    ///
    /// # Errors
    /// When the system does not return it.
    pub(crate) fn address(&self) -> Result<ListenAddress, BindError> {
        let unknown = |source| BindError::Inherited { name: "?".to_owned(), source };
        self.local_address().map_err(unknown)
    }

    fn local_address(&self) -> io::Result<ListenAddress> {
        Ok(match self {
            Self::Unix(listener, _) => {
                let address = listener.local_addr()?;
                ListenAddress::Unix(address.as_pathname().unwrap_or(Path::new("@")).to_owned())
            }
            Self::Tcp(listener) => {
                let address = listener.local_addr()?;
                ListenAddress::Tcp { host: address.ip().to_string(), port: address.port() }
            }
        })
    }
}

fn adopt(descriptor: OwnedFd) -> io::Result<Listener> {
    let socket = SockRef::from(&descriptor);
    socket.set_nonblocking(true)?;
    if !socket.is_listener()? {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it does not listen"));
    }
    match socket.domain()? {
        Domain::UNIX => Ok(Listener::Unix(UnixListener::from_std(descriptor.into())?, None)),
        Domain::IPV4 | Domain::IPV6 => Ok(Listener::Tcp(TcpListener::from_std(descriptor.into())?)),
        _ => Err(io::Error::new(io::ErrorKind::InvalidInput, "it is neither unix nor TCP")),
    }
}

/// Looks the name up here, although that may wait: the runtime would do it in a thread of its own, and
/// a thread that exists before the sandbox keeps its privileges.
async fn bind_tcp(address: &ListenAddress, host: &str, port: u16) -> Result<Listener, BindError> {
    let found = (host, port).to_socket_addrs();
    let found: Vec<_> = found.map_err(|source| system(address, "lookup", source))?.collect();
    let bound = TcpListener::bind(&found[..]).await;
    bound.map(Listener::Tcp).map_err(|source| system(address, "bind", source))
}

fn bind_unix(address: &ListenAddress, path: &Path, trusted: &[u32]) -> Result<Listener, BindError> {
    prepare_directory(address, path, trusted)?;
    let lock = lock(address, path)?;
    remove_stale(address, path)?;
    let socket = bound_socket(path).map_err(|source| system(address, "bind", source))?;
    let inode = fs::symlink_metadata(path).map_err(|source| system(address, "stat", source))?.ino();
    let file = SocketFile { path: path.to_owned(), inode, _lock: lock };
    let listener = listen(socket).map_err(|source| system(address, "listen", source))?;
    Ok(Listener::Unix(listener, Some(file)))
}

/// Binds without listening. The file has its mode from the beginning: a mode that is set by path
/// later could be that of another file.
fn bound_socket(path: &Path) -> io::Result<Socket> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    let address = SockAddr::unix(path)?;
    let before = umask(SOCKET_UMASK);
    let bound = socket.bind(&address);
    umask(before);
    bound.map(|()| socket)
}

fn listen(socket: Socket) -> io::Result<UnixListener> {
    socket.listen(SOCKET_QUEUE)?;
    UnixListener::from_std(OwnedFd::from(socket).into())
}

fn prepare_directory(
    address: &ListenAddress,
    path: &Path,
    trusted: &[u32],
) -> Result<(), BindError> {
    let directory = path.parent().unwrap_or(Path::new("/"));
    if !directory.is_dir() {
        if directory != Path::new(DEFAULT_DIRECTORY) {
            return Err(BindError::NoDirectory(path.to_owned()));
        }
        let made = DirBuilder::new().mode(DIRECTORY_MODE).create(directory);
        made.map_err(|source| system(address, "mkdir", source))?;
    }
    let own = geteuid();
    let trusted = [trusted, &[own.as_raw()]].concat();
    let found = find_exposed(directory, &trusted);
    match found.map_err(|source| system(address, "examining its directory", source))? {
        None => Ok(()),
        Some(exposed) if own.is_root() => {
            Err(BindError::Exposed { path: path.to_owned(), exposed: exposed.to_string() })
        }
        Some(exposed) => {
            tracing::warn!("the socket {} can be replaced by others: {exposed}", path.display());
            Ok(())
        }
    }
}

/// Locks the file beside the socket. The file is never removed: that would make two locks of one.
fn lock(address: &ListenAddress, path: &Path) -> Result<File, BindError> {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false).mode(LOCK_MODE);
    let opened = regular_file::open_without_link(&mut options, Path::new(&name));
    let (file, _) = opened.map_err(|source| system(address, "opening its lock", source))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(BindError::InUse(path.to_owned())),
        Err(TryLockError::Error(source)) => Err(system(address, "locking", source)),
    }
}

/// Removes a socket that refuses connections, which is what one without a listener does.
fn remove_stale(address: &ListenAddress, path: &Path) -> Result<(), BindError> {
    if fs::symlink_metadata(path).is_err() {
        return Ok(());
    }
    match connect(path) {
        Ok(()) => Err(BindError::InUse(path.to_owned())),
        Err(error) => match error.raw_os_error() {
            Some(libc::ECONNREFUSED) if is_socket(path) => {
                fs::remove_file(path).map_err(|source| system(address, "unlink", source))
            }
            Some(libc::ECONNREFUSED | libc::ENOTSOCK) => {
                Err(BindError::NotASocket(path.to_owned()))
            }
            // The queue of its listener is full.
            Some(libc::EAGAIN) => Err(BindError::InUse(path.to_owned())),
            _ => Err(system(address, "connect", error)),
        },
    }
}

/// Connects without blocking: a listener that accepts nothing would block a start for ever.
fn connect(path: &Path) -> io::Result<()> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.connect(&SockAddr::unix(path)?)
}

fn is_socket(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket())
}

fn system(address: &ListenAddress, operation: &'static str, source: io::Error) -> BindError {
    BindError::System { address: address.clone(), operation, source }
}

#[cfg(test)]
mod tests;
