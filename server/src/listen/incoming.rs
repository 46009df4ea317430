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
/// Errors of the connection that would have been accepted, and is not there any more: those after which
/// accept(2) says to try again. Not `EPERM` and `EOPNOTSUPP`, which can also be there to stay.
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
/// What the kernel may hold of answers that a peer of a unix socket does not take; the kernel doubles it,
/// for its own bookkeeping. It is the kernel's default (`net.core.wmem_default`), whatever that is set to.
const UNIX_SEND_BUFFER: usize = 104 << 10;
/// The same for a TCP connection, which would else grow to some megabytes: a watcher gets as much in each
/// round trip, in a network of 10 ms ten megabytes a second.
const TCP_SEND_BUFFER: usize = 128 << 10;
/// What it may hold of requests: the longest one by default. It is doubled too.
const TCP_RECEIVE_BUFFER: usize = 64 << 10;
/// The most that buffers of a connection occupy of the kernel's memory through a unix socket,
pub const UNIX_BUFFERS: usize = 2 * UNIX_SEND_BUFFER;
/// and by TCP.
pub const TCP_BUFFERS: usize = 2 * (TCP_SEND_BUFFER + TCP_RECEIVE_BUFFER);
/// One line for many failures: without descriptors, each pause ends in another one.
static FAILURES: Throttle = Throttle::new(Duration::from_secs(10));

/// Connections of several listeners, as they come.
#[derive(Debug)]
pub struct Incoming {
    listeners: Vec<Listener>,
    /// The one that is asked first.
    first: usize,
    /// Those of TCP connections, unless these are plaintext.
    handshakes: Option<Handshakes>,
    /// Runs after a failure.
    pause: Option<Pin<Box<Sleep>>>,
    backoff: Backoff,
}

/// A connection, and who made it.
#[derive(Debug)]
pub struct Connection {
    stream: Stream,
    principal: Arc<Principal>,
}

/// The bytes of a connection of any kind.
#[derive(Debug)]
enum Stream {
    Unix(AnyAuthority<UnixStream>),
    Tcp(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// What a listener accepted.
#[derive(Debug)]
enum Accepted {
    Unix(UnixStream),
    Tcp(TcpStream, SocketAddr),
}

impl Incoming {
    /// Accepts from all of them. With security, TCP connections come after their handshake; without it,
    /// they are plaintext.
    #[must_use]
    pub fn new(listeners: Vec<Listener>, security: Option<TlsAcceptorConfig>) -> Self {
        Self {
            listeners,
            first: 0,
            handshakes: security.map(Handshakes::new),
            pause: None,
            backoff: Backoff::new(MIN_ACCEPT_DELAY, MAX_ACCEPT_DELAY),
        }
    }

    /// Takes one of those who wait. Listeners take turns: after one that gave a connection, or an error,
    /// all others are asked before it, so that a crowd at one of them keeps nobody waiting at another.
    ///
    /// A crowd keeps the event loop from nothing else either: each of a listener's answers takes from the
    /// budget that tokio gives a task at a time (`tokio::task::coop`), as does each handshake that has
    /// ended. When it is used up, all are pending, and the task is behind those that are ready by then.
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

    /// The connection, unless it comes later, after its handshake.
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

    /// Accepts nothing for a while, unless the error took a connection out of the queue: who makes
    /// connections that fail is to keep nobody waiting.
    fn pause_for(&mut self, error: &io::Error) {
        if !error.raw_os_error().is_some_and(|code| OF_ONE_CONNECTION.contains(&code)) {
            self.pause = Some(Box::pin(sleep(self.backoff.next_delay())));
        }
    }

    /// Whether the next one may come. If not, a handshake that was told to go has to end before, which
    /// wakes whoever was told so.
    fn has_capacity(&self) -> bool {
        self.handshakes.as_ref().is_none_or(Handshakes::has_capacity)
    }
}

impl futures_util::Stream for Incoming {
    type Item = io::Result<Connection>;

    /// An error is given once. Handshakes go on, whatever follows from it.
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
                // Its handshake has begun, and wants to be polled.
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

/// Small answers do not wait for acknowledgements of earlier ones, and what the peer does not take has a
/// bound. A connection that is already gone refuses, and fails at its first use.
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
