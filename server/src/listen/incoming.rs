//! Accepted connections of all listeners in one stream.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::{Sleep, sleep};
use tonic::transport::server::Connected;

use super::Listener;
use crate::security::Principal;
use crate::telemetry::Throttle;

/// How long nothing is accepted after a failure. With no descriptors left, each try would fail at
/// once, and trying without end would take a whole CPU.
const PAUSE: Duration = Duration::from_millis(100);
/// One line for many failures: without descriptors, each pause ends in another one.
static FAILURES: Throttle = Throttle::new(Duration::from_secs(10));

/// Connections of several listeners, as they come.
#[derive(Debug)]
pub struct Incoming {
    listeners: Vec<Listener>,
    /// Runs after a failure.
    pause: Option<Pin<Box<Sleep>>>,
}

/// A connection, and who made it.
#[derive(Debug)]
pub struct Connection {
    stream: Stream,
    principal: Arc<Principal>,
}

/// The bytes of a connection of either kind.
#[derive(Debug)]
enum Stream {
    Unix(UnixStream),
    Tcp(TcpStream),
}

impl Incoming {
    /// Accepts from all of them.
    #[must_use]
    pub fn new(listeners: Vec<Listener>) -> Self {
        Self { listeners, pause: None }
    }
}

impl futures_util::Stream for Incoming {
    type Item = io::Result<Connection>;

    /// An error is given once, and then nothing is accepted for a while.
    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Some(pause) = &mut self.pause {
            ready!(pause.as_mut().poll(cx));
            self.pause = None;
        }
        for listener in &self.listeners {
            let Poll::Ready(accepted) = listener.poll_accept(cx) else { continue };
            if let Err(error) = &accepted {
                if let Some(untold) = FAILURES.pass(Instant::now()) {
                    tracing::warn!(%error, untold, "accepting a connection failed");
                }
                self.pause = Some(Box::pin(sleep(PAUSE)));
            }
            return Poll::Ready(Some(accepted));
        }
        Poll::Pending
    }
}

impl Listener {
    fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<Connection>> {
        match self {
            Self::Unix(listener, _) => {
                let accepted = ready!(listener.poll_accept(cx));
                Poll::Ready(accepted.and_then(|(stream, _)| Connection::local(stream)))
            }
            Self::Tcp(listener) => {
                listener.poll_accept(cx).map_ok(|(stream, peer)| Connection::remote(stream, peer))
            }
        }
    }
}

impl Connection {
    fn local(stream: UnixStream) -> io::Result<Self> {
        let peer = stream.peer_cred()?;
        let principal = Arc::new(Principal::Local { uid: peer.uid(), gid: peer.gid() });
        Ok(Self { stream: Stream::Unix(stream), principal })
    }

    fn remote(stream: TcpStream, peer: SocketAddr) -> Self {
        // Without it, small answers wait for acknowledgements of earlier ones. A connection that is
        // already gone refuses, and fails at its first use.
        drop(stream.set_nodelay(true));
        Self { stream: Stream::Tcp(stream), principal: Arc::new(Principal::Anonymous(peer)) }
    }
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
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().stream {
            Stream::Unix(stream) => Pin::new(stream).poll_flush(cx),
            Stream::Tcp(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().stream {
            Stream::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
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
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }
}
