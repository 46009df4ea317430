use std::fs::Permissions;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixStream;

use nix::unistd::mkfifo;

use super::*;

fn bind(path: &Path) -> Result<Listener, String> {
    let address = ListenAddress::Unix(path.to_owned());
    bind_unix(&address, path, &[]).map_err(|error| error.to_string())
}

/// A file without its final mode would accept clients that the mode excludes.
#[tokio::test]
async fn no_client_connects_before_the_socket_listens() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("agent.sock");
    let socket = bound_socket(&path).unwrap();
    let refused = UnixStream::connect(&path).unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o660);
    let _listener = listen(socket).unwrap();
    UnixStream::connect(&path).unwrap();
}

/// Issue 11, row 4: the start hung for ever.
#[tokio::test]
async fn a_listener_with_a_full_queue_is_in_use() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("agent.sock");
    let foreign = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
    foreign.bind(&SockAddr::unix(&path).unwrap()).unwrap();
    foreign.listen(0).unwrap();
    let mut waiting = Vec::new();
    while let Ok(connected) = Socket::new(Domain::UNIX, Type::STREAM, None).and_then(|socket| {
        socket.set_nonblocking(true)?;
        socket.connect(&SockAddr::unix(&path)?).map(|()| socket)
    }) {
        waiting.push(connected);
    }
    assert!(bind(&path).unwrap_err().contains("is in use"));
}

/// Issue 11, rows 4 and 5: a FIFO hung the start, and a dangling link made a file elsewhere.
#[tokio::test]
async fn a_lock_that_is_no_file_of_the_directory_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("agent.sock");
    let lock = directory.path().join("agent.sock.lock");
    mkfifo(&lock, Mode::S_IRWXU).unwrap();
    assert!(bind(&path).unwrap_err().contains("a FIFO"));
    fs::remove_file(&lock).unwrap();
    let elsewhere = directory.path().join("elsewhere");
    symlink(&elsewhere, &lock).unwrap();
    assert!(bind(&path).unwrap_err().contains("a symbolic link"));
    assert!(!elsewhere.exists());
    fs::remove_file(&lock).unwrap();
    bind(&path).unwrap();
}

/// Issue 11, row 5: another user could swap the socket for a link, and root changed the link's target.
#[tokio::test]
async fn root_refuses_a_directory_that_others_can_change() {
    let directory = tempfile::tempdir().unwrap();
    fs::set_permissions(directory.path(), Permissions::from_mode(0o777)).unwrap();
    let bound = bind(&directory.path().join("agent.sock"));
    match geteuid().is_root() {
        true => assert!(bound.unwrap_err().contains("can be changed by every user")),
        false => drop(bound.unwrap()),
    }
}
