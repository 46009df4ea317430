//! Binding listeners.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io;
use std::net::ToSocketAddrs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use socket2::{Domain, SockAddr, SockRef, Socket, Type};
use tokio::net::{TcpListener, UnixListener};

use super::ListenAddress;
use crate::inherit::Inherited;

/// The directory of the default socket: made if it is missing, because no user should have to know of it.
pub const DEFAULT_DIRECTORY: &str = "/run/taskstatsd";
/// Anyone may look; the socket's own mode decides who may connect.
const DIRECTORY_MODE: u32 = 0o755;
/// Owner and group may connect.
const SOCKET_MODE: u32 = 0o660;
/// Callers that wait to be accepted; the system allows as many by default (net.core.somaxconn).
const SOCKET_QUEUE: i32 = libc::SOMAXCONN;
/// The agent alone.
const LOCK_MODE: u32 = 0o600;

/// A bound listener.
#[derive(Debug)]
pub enum Listener {
    /// On a path; with its file, unless a service manager made it.
    Unix(UnixListener, Option<SocketFile>),
    /// On a port.
    Tcp(TcpListener),
}

/// Why a listener could not be bound.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Someone accepts connections there.
    #[error("{path} is in use by a process that accepts connections; stop it or choose another path", path = .0.display())]
    InUse(PathBuf),
    /// Something that is no socket stands there.
    #[error("{path} exists and is no socket; remove it or choose another path", path = .0.display())]
    NotASocket(PathBuf),
    /// The directory does not exist.
    #[error("the directory of {path} does not exist; make it first: mkdir -p {directory}", path = .0.display(), directory = .0.parent().unwrap_or(Path::new("/")).display())]
    NoDirectory(PathBuf),
    /// The service manager passed something else.
    #[error(
        "the descriptor `{name}` that the service manager passed cannot be listened on: {source}"
    )]
    Inherited {
        /// Its name.
        name: String,
        /// What the system said.
        source: io::Error,
    },
    /// The system refused.
    #[error("listening on {address} failed at {operation}: {source}")]
    System {
        /// Where.
        address: ListenAddress,
        /// What was tried.
        operation: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

/// A socket's file, removed with the listener unless another one stands there by then, or the user
/// that the agent became may not: it is not given the directory, in which root would then trust it.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    inode: u64,
    /// Held as long as the socket is ours, so that no other agent takes it for stale.
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
    /// Binds a listener. A socket file that nobody listens on any more is replaced; one that someone
    /// listens on is left alone.
    ///
    /// # Errors
    /// Why the address cannot be listened on.
    pub async fn bind(address: &ListenAddress) -> Result<Self, BindError> {
        match address {
            ListenAddress::Unix(path) => bind_unix(address, path),
            ListenAddress::Tcp { host, port } => bind_tcp(address, host, *port).await,
        }
    }

    /// Takes over a socket that a service manager bound and listens on.
    ///
    /// # Errors
    /// When the descriptor is no listening unix or TCP socket.
    pub fn adopt(inherited: Inherited) -> Result<Self, BindError> {
        let Inherited { descriptor, name } = inherited;
        let adopted = adopt(descriptor);
        adopted.map_err(|source| BindError::Inherited { name, source })
    }

    /// The address in full, with the port that the system chose.
    ///
    /// # Errors
    /// When the system does not tell.
    pub fn address(&self) -> Result<ListenAddress, BindError> {
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

/// Looks the name up here, although it may wait: the runtime would do it in a thread of its own, and
/// a thread that is there before rights are given up keeps them.
async fn bind_tcp(address: &ListenAddress, host: &str, port: u16) -> Result<Listener, BindError> {
    let found = (host, port).to_socket_addrs();
    let found: Vec<_> = found.map_err(|source| system(address, "lookup", source))?.collect();
    let bound = TcpListener::bind(&found[..]).await;
    bound.map(Listener::Tcp).map_err(|source| system(address, "bind", source))
}

fn bind_unix(address: &ListenAddress, path: &Path) -> Result<Listener, BindError> {
    prepare_directory(address, path)?;
    let lock = lock(address, path)?;
    remove_stale(address, path)?;
    let socket = bound_socket(path).map_err(|source| system(address, "bind", source))?;
    let inode = fs::symlink_metadata(path).map_err(|source| system(address, "stat", source))?.ino();
    let file = SocketFile { path: path.to_owned(), inode, _lock: lock };
    fs::set_permissions(path, Permissions::from_mode(SOCKET_MODE))
        .map_err(|source| system(address, "chmod", source))?;
    let listener = listen(socket).map_err(|source| system(address, "listen", source))?;
    Ok(Listener::Unix(listener, Some(file)))
}

/// Binds without listening: nobody can connect before the file has its mode.
fn bound_socket(path: &Path) -> io::Result<Socket> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.bind(&SockAddr::unix(path)?)?;
    Ok(socket)
}

fn listen(socket: Socket) -> io::Result<UnixListener> {
    socket.listen(SOCKET_QUEUE)?;
    UnixListener::from_std(OwnedFd::from(socket).into())
}

fn prepare_directory(address: &ListenAddress, path: &Path) -> Result<(), BindError> {
    let directory = path.parent().unwrap_or(Path::new("/"));
    if directory.is_dir() {
        return Ok(());
    }
    if directory != Path::new(DEFAULT_DIRECTORY) {
        return Err(BindError::NoDirectory(path.to_owned()));
    }
    let made = DirBuilder::new().mode(DIRECTORY_MODE).create(directory);
    made.map_err(|source| system(address, "mkdir", source))
}

/// Locks the file beside the socket, which stays there: removing it would make two locks of one.
fn lock(address: &ListenAddress, path: &Path) -> Result<File, BindError> {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let opened =
        OpenOptions::new().write(true).create(true).truncate(false).mode(LOCK_MODE).open(name);
    let file = opened.map_err(|source| system(address, "opening its lock", source))?;
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
    match UnixStream::connect(path) {
        Ok(_) => Err(BindError::InUse(path.to_owned())),
        Err(error) => match error.raw_os_error() {
            Some(libc::ECONNREFUSED) if is_socket(path) => {
                fs::remove_file(path).map_err(|source| system(address, "unlink", source))
            }
            Some(libc::ECONNREFUSED | libc::ENOTSOCK) => {
                Err(BindError::NotASocket(path.to_owned()))
            }
            // A full backlog: someone listens.
            Some(libc::EAGAIN) => Err(BindError::InUse(path.to_owned())),
            _ => Err(system(address, "connect", error)),
        },
    }
}

fn is_socket(path: &Path) -> bool {
    use std::os::unix::fs::FileTypeExt;
    fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket())
}

fn system(address: &ListenAddress, operation: &'static str, source: io::Error) -> BindError {
    BindError::System { address: address.clone(), operation, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file without its mode yet would let in whom the mode keeps out.
    #[tokio::test]
    async fn nobody_connects_before_the_socket_listens() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("agent.sock");
        let socket = bound_socket(&path).unwrap();
        let refused = UnixStream::connect(&path).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
        let _listener = listen(socket).unwrap();
        UnixStream::connect(&path).unwrap();
    }
}
