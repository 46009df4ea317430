use std::os::unix::net::UnixStream as Client;
use std::path::PathBuf;

use futures_util::StreamExt;
use tokio::net::UnixListener;

use super::*;

/// Connections that wait at each listener.
const WAITING: usize = 3;

/// Listeners on paths of a directory, and who waits there.
struct Listeners {
    directory: tempfile::TempDir,
    clients: Vec<Client>,
}

impl Listeners {
    fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap(), clients: Vec::new() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn listen(&self, name: &str) -> Listener {
        Listener::Unix(UnixListener::bind(self.path(name)).unwrap(), None)
    }

    fn connect(&mut self, name: &str, count: usize) {
        for _ in 0..count {
            self.clients.push(Client::connect(self.path(name)).unwrap());
        }
    }
}

/// The names of the listeners that gave so many connections, in order.
async fn turns(incoming: &mut Incoming, count: usize) -> String {
    let mut turns = String::new();
    for _ in 0..count {
        let connection = incoming.next().await.unwrap().unwrap();
        let Stream::Unix(stream) = connection.stream else { panic!("{connection:?}") };
        let address = stream.get_ref().local_addr().unwrap();
        let name = address.as_pathname().and_then(|path| path.file_name()).unwrap();
        turns.push_str(name.to_str().unwrap());
    }
    turns
}

#[tokio::test]
async fn listeners_take_turns() {
    let mut fixture = Listeners::new();
    let names = ["a", "b", "c"];
    let listeners = names.map(|name| fixture.listen(name)).into();
    let mut incoming = Incoming::new(listeners, None);
    names.iter().for_each(|name| fixture.connect(name, WAITING));
    assert_eq!(turns(&mut incoming, 3 * WAITING).await, "abcabcabc");
}

/// A client of another listener is next, however many wait at one.
#[tokio::test]
async fn a_crowd_at_one_listener_does_not_delay_another() {
    let mut fixture = Listeners::new();
    let listeners = ["a", "b"].map(|name| fixture.listen(name)).into();
    let mut incoming = Incoming::new(listeners, None);
    fixture.connect("a", 2 * WAITING);
    fixture.connect("b", 1);
    assert_eq!(turns(&mut incoming, 2 * WAITING + 1).await, "abaaaaa");
}

/// A connection that fails before it is accepted delays no other. A lack of resources, and any other error,
/// is followed by a pause.
#[tokio::test]
async fn an_error_of_one_connection_is_followed_by_no_pause() {
    for (code, pauses) in [
        (libc::ECONNABORTED, false),
        (libc::EPROTO, false),
        (libc::EHOSTUNREACH, false),
        (libc::EMFILE, true),
        (libc::ENFILE, true),
        (libc::ENOBUFS, true),
        (libc::ENOMEM, true),
        (libc::EINVAL, true),
    ] {
        let mut incoming = Incoming::new(Vec::new(), None);
        incoming.pause_for(&io::Error::from_raw_os_error(code));
        assert_eq!(incoming.pause.is_some(), pauses, "{code}");
    }
}
