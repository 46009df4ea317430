//! Accepted connections of all listeners in one stream.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::{Sleep, sleep};
use tokio_rustls::server::TlsStream;
use tonic::transport::server::Connected;

use super::authority::AnyAuthority;
use super::handshake::{Handshakes, SecureConnection};
use super::{Listener, TlsAcceptorConfig};
use crate::backoff::Backoff;
use crate::security::Principal;
use crate::telemetry::Throttle;

/// The shortest delay after an accept(2) that failed. Without file descriptors or memory each attempt
/// fails at once, and attempts without a delay would use a whole CPU.
const MIN_ACCEPT_DELAY: Duration = Duration::from_millis(50);
/// The longest delay.
const MAX_ACCEPT_DELAY: Duration = Duration::from_millis(500);
/// Errors of a connection that ended before it was accepted, after which accept(2) is to be called again.
/// `EPERM` and `EOPNOTSUPP` are not among them, because they can be permanent.
const OF_ONE_CONNECTION: [i32; 8] = [
    libc::ECONNABORTED,
    libc::EPROTO,
    libc::ENETDOWN,
    libc::ENETUNREACH,
    libc::EHOSTDOWN,
    libc::EHOSTUNREACH,
    libc::ENONET,
    libc::ENOPROTOOPT,
];
/// The send buffer of a unix socket, for responses that the peer does not read. The kernel doubles it for
/// its own structures. It is the kernel's default, whatever the sysctl `net.core.wmem_default` is set to.
const UNIX_SEND_BUFFER: usize = 104 << 10;
/// The send buffer of a TCP connection, which would grow to some megabytes otherwise. A watcher receives as
/// much in each round trip, in a network of 10 ms ten megabytes a second.
const TCP_SEND_BUFFER: usize = 128 << 10;
/// The receive buffer of a TCP connection: the size of the longest request by default. It is doubled too.
const TCP_RECEIVE_BUFFER: usize = 64 << 10;
/// The kernel memory that the buffers of a unix connection can occupy.
pub(crate) const UNIX_BUFFERS: usize = 2 * UNIX_SEND_BUFFER;
/// The kernel memory that the buffers of a TCP connection can occupy.
pub(crate) const TCP_BUFFERS: usize = 2 * (TCP_SEND_BUFFER + TCP_RECEIVE_BUFFER);
/// Without descriptors, each pause ends in another failure, and one line is enough.
static FAILURES: Throttle = Throttle::new(Duration::from_secs(10));

/// The stream of connections of all listeners.
#[derive(Debug)]
pub(crate) struct Incoming {
    listeners: Vec<Listener>,
    /// The index of the listener that is polled first.
    first: usize,
    /// The handshakes of TCP connections, unless these are plaintext.
    handshakes: Option<Handshakes>,
    /// Runs after a failure.
    pause: Option<Pin<Box<Sleep>>>,
    backoff: Backoff,
}

/// A connection and its peer.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: Stream,
    principal: Arc<Principal>,
}

/// The transport of a connection.
#[derive(Debug)]
enum Stream {
    Unix(AnyAuthority<UnixStream>),
    Tcp(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// A connection that a listener accepted.
#[derive(Debug)]
enum Accepted {
    Unix(UnixStream),
    Tcp(TcpStream, SocketAddr),
}

impl Incoming {
    /// Accepts from all listeners. With `tls`, TCP connections are returned after their handshake; without
    /// it, they are plaintext.
    #[must_use]
    pub(crate) fn new(listeners: Vec<Listener>, tls: Option<TlsAcceptorConfig>) -> Self {
        Self {
            listeners,
            first: 0,
            handshakes: tls.map(Handshakes::new),
            pause: None,
            backoff: Backoff::new(MIN_ACCEPT_DELAY, MAX_ACCEPT_DELAY),
        }
    }

    /// Polls the listeners for a connection. Listeners take turns: after one that returned a connection or an
    /// error, all others are polled before it, so that a crowd at one of them does not delay another.
    ///
    /// A crowd does not delay other tasks either: each accepted connection and each handshake that has ended
    /// uses the budget of the task (`tokio::task::coop`). When it is used up, all listeners are pending, and
    /// the tasks that are ready run first.
    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Accepted>> {
        let count = self.listeners.len();
        for index in (self.first..count).chain(0..self.first) {
            if let Poll::Ready(accepted) = self.listeners[index].poll_accept(cx) {
                self.first = (index + 1) % count;
                return Poll::Ready(accepted);
            }
        }
        Poll::Pending
    }

    /// Returns the connection, or starts its handshake.
    fn admit(&mut self, accepted: Accepted) -> io::Result<Option<Connection>> {
        match (accepted, &mut self.handshakes) {
            (Accepted::Unix(stream), _) => Connection::local(stream).map(Some),
            (Accepted::Tcp(stream, peer), None) => Ok(Some(Connection::remote(stream, peer))),
            (Accepted::Tcp(stream, peer), Some(handshakes)) => {
                prepare(&stream);
                handshakes.begin(stream, peer);
                Ok(None)
            }
        }
    }

    fn poll_secure(&mut self, cx: &mut Context<'_>) -> Poll<Connection> {
        match &mut self.handshakes {
            Some(handshakes) => handshakes.poll_next(cx).map(Connection::secure),
            None => Poll::Pending,
        }
    }

    /// Pauses, unless the error removed a connection from the queue: a client whose connections fail must not
    /// delay others.
    fn pause_for(&mut self, error: &io::Error) {
        if !error.raw_os_error().is_some_and(|code| OF_ONE_CONNECTION.contains(&code)) {
            self.pause = Some(Box::pin(sleep(self.backoff.next_delay())));
        }
    }

    /// Returns whether a further connection may be accepted. If not, an aborted handshake has to end before,
    /// which wakes this task.
    fn has_capacity(&self) -> bool {
        self.handshakes.as_ref().is_none_or(Handshakes::has_capacity)
    }
}

impl futures_util::Stream for Incoming {
    type Item = io::Result<Connection>;

    /// Returns each error once. Handshakes continue meanwhile.
    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if let Poll::Ready(connection) = self.poll_secure(cx) {
                return Poll::Ready(Some(Ok(connection)));
            }
            if let Some(pause) = &mut self.pause {
                ready!(pause.as_mut().poll(cx));
                self.pause = None;
            }
            if !self.has_capacity() {
                return Poll::Pending;
            }
            let accepted = ready!(self.poll_accept(cx)).inspect_err(|error| self.pause_for(error));
            if accepted.is_ok() {
                self.backoff.reset();
            }
            match accepted.and_then(|accepted| self.admit(accepted)) {
                Ok(Some(connection)) => return Poll::Ready(Some(Ok(connection))),
                // Its handshake has begun, and must be polled.
                Ok(None) => {}
                Err(error) => {
                    if let Some(untold) = FAILURES.pass(Instant::now()) {
                        tracing::warn!(%error, untold, "accepting a connection failed");
                    }
                    return Poll::Ready(Some(Err(error)));
                }
            }
        }
    }
}

impl Listener {
    fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<Accepted>> {
        match self {
            Self::Unix(listener, _) => {
                listener.poll_accept(cx).map_ok(|(stream, _)| Accepted::Unix(stream))
            }
            Self::Tcp(listener) => {
                listener.poll_accept(cx).map_ok(|(stream, peer)| Accepted::Tcp(stream, peer))
            }
        }
    }
}

impl Connection {
    fn local(stream: UnixStream) -> io::Result<Self> {
        let peer = stream.peer_cred()?;
        SockRef::from(&stream).set_send_buffer_size(UNIX_SEND_BUFFER)?;
        let principal = Arc::new(Principal::Local { uid: peer.uid(), gid: peer.gid() });
        Ok(Self { stream: Stream::Unix(AnyAuthority::new(stream)), principal })
    }

    fn remote(stream: TcpStream, peer: SocketAddr) -> Self {
        prepare(&stream);
        Self { stream: Stream::Tcp(stream), principal: Arc::new(Principal::Anonymous(peer)) }
    }

    fn secure(secure: SecureConnection) -> Self {
        let SecureConnection { stream, principal } = secure;
        Self { stream: Stream::Tls(stream), principal: Arc::new(principal) }
    }
}

/// Turns off the delay of small segments, and bounds the buffers. A connection that has ended already returns
/// errors here, and fails at its first use.
fn prepare(stream: &TcpStream) {
    drop(stream.set_nodelay(true));
    let socket = SockRef::from(stream);
    drop(socket.set_send_buffer_size(TCP_SEND_BUFFER));
    drop(socket.set_recv_buffer_size(TCP_RECEIVE_BUFFER));
}

impl Connected for Connection {
    type ConnectInfo = Arc<Principal>;

    fn connect_info(&self) -> Arc<Principal> {
        Arc::clone(&self.principal)
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.get_mut().stream {
            Stream::Unix(stream) => Pin::new(stream).poll_read(cx, buffer),
            Stream::Tcp(stream) => Pin::new(stream).poll_read(cx, buffer),
            Stream::Tls(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().stream {
            Stream::Unix(stream) => Pin::new(stream).poll_write(cx, bytes),
            Stream::Tcp(stream) => Pin::new(stream).poll_write(cx, bytes),
            Stream::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().stream {
            Stream::Unix(stream) => Pin::new(stream).poll_flush(cx),
            Stream::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Stream::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().stream {
            Stream::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().stream {
            Stream::Unix(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
            Stream::Tcp(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
            Stream::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests;
