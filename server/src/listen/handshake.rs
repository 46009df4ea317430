//! TLS handshakes: many at once, none for long.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, copy, sink};
use tokio::net::TcpStream;
use tokio::task::{AbortHandle, Id, JoinError, JoinSet};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::handshake_error::{HandshakeError, HandshakeErrorLog};
use super::handshake_slots::FairSlots;
use crate::security::tls::{Tls, names};
use crate::security::{Callers, CertificateNames, Limit, Principal};

/// Handshakes at once, where there are descriptors for them. An honest client needs milliseconds, so that
/// so many at once are mostly those that only hold a place; `slots` says which of them has to go.
pub const MAX_HANDSHAKES: usize = 256;
/// How long a refused client may take to read why.
const ALERT_LINGER: Duration = Duration::from_secs(1);
/// What it may still send meanwhile: the beginning of HTTP/2, and a request.
const ALERT_LINGER_BYTES: u64 = 64 << 10;

/// How TCP connections become secure ones.
#[derive(Clone, Debug)]
pub struct TlsAcceptorConfig {
    /// The certificates in use.
    pub tls: Arc<Tls>,
    /// How long a handshake may take.
    pub handshake_timeout: Duration,
    /// How many there may be at once.
    pub handshakes: usize,
    /// Where refused ones are counted.
    pub callers: Arc<Callers>,
}

/// Handshakes that run. Dropped, they are given up.
#[derive(Debug)]
pub(super) struct Handshakes {
    security: TlsAcceptorConfig,
    /// Those that go on, those that were told to go, and those that have ended and are not judged yet.
    running: JoinSet<Result<SecureConnection, HandshakeError>>,
    /// With whom each of these is.
    peers: HashMap<Id, SocketAddr>,
    slots: FairSlots<AbortHandle>,
    log: HandshakeErrorLog,
}

/// A connection that is secure, and whose it is.
#[derive(Debug)]
pub(super) struct SecureConnection {
    pub(super) stream: Box<TlsStream<TcpStream>>,
    pub(super) principal: Principal,
}

impl Handshakes {
    pub(super) fn new(security: TlsAcceptorConfig) -> Self {
        Self {
            running: JoinSet::new(),
            peers: HashMap::new(),
            slots: FairSlots::new(security.handshakes),
            log: HandshakeErrorLog::default(),
            security,
        }
    }

    /// Whether no connection waits to be closed for another one. Who accepts one after the other without
    /// regard to it opens descriptors faster than those who have to go are closed.
    pub(super) fn has_capacity(&self) -> bool {
        self.running.len() <= self.slots.capacity()
    }

    /// Begins a handshake.
    pub(super) fn begin(&mut self, stream: TcpStream, peer: SocketAddr) {
        let security = self.security.clone();
        let task = self.running.spawn(async move { accept_tls(stream, peer, &security).await });
        self.peers.insert(task.id(), peer);
        if let Some(one_too_many) = self.slots.insert(peer.ip().into(), task) {
            one_too_many.abort();
        }
    }

    /// Gives the next connection whose handshake succeeded. Pending also when none runs: who begins one
    /// has to ask again.
    pub(super) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<SecureConnection> {
        while let Poll::Ready(Some(ended)) = self.running.poll_join_next_with_id(cx) {
            if let Some(secure) = self.finish(ended) {
                return Poll::Ready(secure);
            }
        }
        Poll::Pending
    }

    fn finish(
        &mut self,
        ended: Result<(Id, Result<SecureConnection, HandshakeError>), JoinError>,
    ) -> Option<SecureConnection> {
        let (id, result) = match ended {
            Ok(outcome) => outcome,
            Err(error) => (error.id(), Err(HandshakeError::from(error))),
        };
        // One that had to go has no place any more.
        let _place = self.slots.remove_where(|task| task.id() == id);
        let peer = self.peers.remove(&id);
        self.security.tls.count_handshake(result.is_ok());
        result.map_err(|error| self.tell(&error, peer)).ok()
    }

    fn tell(&self, error: &HandshakeError, peer: Option<SocketAddr>) {
        let who = peer.map_or_else(|| "a peer".to_owned(), |peer| peer.to_string());
        if error.is_late() {
            let what = format_args!("TLS handshake: {error}");
            self.security.callers.rejections().add(Limit::HandshakeTime, &who, &what);
        } else {
            self.log.say(error, &who);
        }
    }
}

async fn accept_tls(
    stream: TcpStream,
    peer: SocketAddr,
    security: &TlsAcceptorConfig,
) -> Result<SecureConnection, HandshakeError> {
    let acceptor = TlsAcceptor::from(security.tls.server_config());
    let limit = security.handshake_timeout;
    let accepted = timeout(limit, acceptor.accept(stream).into_fallible()).await;
    match accepted.map_err(|_| HandshakeError::TimedOut(limit))? {
        Ok(stream) => identify(stream, peer),
        Err((error, stream)) => {
            drain_after_alert(stream).await;
            Err(HandshakeError::of(error))
        }
    }
}

fn identify(
    stream: TlsStream<TcpStream>,
    peer: SocketAddr,
) -> Result<SecureConnection, HandshakeError> {
    let (_, session) = stream.get_ref();
    if !Tls::is_http2(session.alpn_protocol()) {
        return Err(HandshakeError::NoHttp2);
    }
    let leaf = session.peer_certificates().and_then(<[_]>::first);
    let names: Option<CertificateNames> = leaf
        .map(names)
        .transpose()
        .map_err(|error| HandshakeError::Certificate(error.to_string()))?;
    let principal = names.map_or(Principal::Anonymous(peer), Principal::Certificate);
    Ok(SecureConnection { stream: Box::new(stream), principal })
}

/// Lets the client read the alert. Closed with bytes unread, a connection is reset, and then the client
/// learns nothing.
async fn drain_after_alert(mut stream: TcpStream) {
    let lingering = async {
        stream.shutdown().await?;
        copy(&mut stream.take(ALERT_LINGER_BYTES), &mut sink()).await
    };
    // It is refused, whether it listens or not.
    drop(timeout(ALERT_LINGER, lingering).await);
}
