//! Concurrent TLS handshakes, each with a timeout.

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
use super::handshake_rate::HandshakeRates;
use super::handshake_slots::FairSlots;
use crate::security::tls::{Tls, names};
use crate::security::{Callers, CertificateNames, Limit, Principal};

/// Maximum concurrent handshakes, if there are descriptors for them. An honest client needs milliseconds,
/// so most of so many only hold a slot; `FairSlots` decides which one is aborted.
pub(crate) const MAX_HANDSHAKES: usize = 256;
/// The time that a rejected client has to read the alert.
const ALERT_LINGER: Duration = Duration::from_secs(1);
/// The bytes that it may send meanwhile, enough for the preface of HTTP/2 and a request.
const ALERT_LINGER_BYTES: u64 = 64 << 10;

/// The settings of TLS handshakes.
#[derive(Clone, Debug)]
pub(crate) struct TlsAcceptorConfig {
    /// The certificates in use.
    pub(crate) tls: Arc<Tls>,
    /// The timeout of a handshake.
    pub(crate) handshake_timeout: Duration,
    /// Maximum handshakes a second of an address; 0 is no limit.
    pub(crate) handshake_rate: u32,
    /// Maximum concurrent handshakes.
    pub(crate) handshakes: usize,
    /// The counters of rejected handshakes.
    pub(crate) callers: Arc<Callers>,
}

/// Handshakes that run. They are aborted when this is dropped.
#[derive(Debug)]
pub(super) struct Handshakes {
    config: TlsAcceptorConfig,
    /// Handshakes that run, that were aborted, or that have ended and were not polled yet.
    running: JoinSet<Result<SecureConnection, HandshakeError>>,
    /// The peer of each task in `running`.
    peers: HashMap<Id, SocketAddr>,
    slots: FairSlots<AbortHandle>,
    rates: HandshakeRates,
    log: HandshakeErrorLog,
}

/// A connection after its handshake, and its peer.
#[derive(Debug)]
pub(super) struct SecureConnection {
    pub(super) stream: Box<TlsStream<TcpStream>>,
    pub(super) principal: Principal,
}

impl Handshakes {
    pub(super) fn new(config: TlsAcceptorConfig) -> Self {
        Self {
            running: JoinSet::new(),
            peers: HashMap::new(),
            slots: FairSlots::new(config.handshakes),
            rates: HandshakeRates::new(config.handshake_rate),
            log: HandshakeErrorLog::default(),
            config,
        }
    }

    /// Returns whether no aborted handshake remains to be closed. Otherwise descriptors could be opened
    /// faster than they are closed.
    pub(super) fn has_capacity(&self) -> bool {
        self.running.len() <= self.slots.capacity()
    }

    /// Starts a handshake, or closes the connection if its address began too many.
    pub(super) fn begin(&mut self, stream: TcpStream, peer: SocketAddr) {
        if !self.rates.allow(peer.ip().into()) {
            self.config.tls.count_handshake(false);
            return self.report(&HandshakeError::TooFast, Some(peer));
        }
        let config = self.config.clone();
        let task = self.running.spawn(async move { accept_tls(stream, peer, &config).await });
        self.peers.insert(task.id(), peer);
        if let Some(evicted) = self.slots.insert(peer.ip().into(), task) {
            evicted.abort();
        }
    }

    /// Polls for the next connection whose handshake succeeded. It is pending also while none runs, so it
    /// must be polled again after one begins.
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
        // An aborted one has no slot any more.
        let _slot = self.slots.remove_where(|task| task.id() == id);
        let peer = self.peers.remove(&id);
        self.config.tls.count_handshake(result.is_ok());
        result.map_err(|error| self.report(&error, peer)).ok()
    }

    fn report(&self, error: &HandshakeError, peer: Option<SocketAddr>) {
        let who = peer.map_or_else(|| "a peer".to_owned(), |peer| peer.to_string());
        if error.is_limit() {
            let what = format_args!("TLS handshake: {error}");
            self.config.callers.rejections().add(Limit::HandshakeTime, &who, &what);
        } else {
            self.log.write(error, &who);
        }
    }
}

async fn accept_tls(
    stream: TcpStream,
    peer: SocketAddr,
    config: &TlsAcceptorConfig,
) -> Result<SecureConnection, HandshakeError> {
    let acceptor = TlsAcceptor::from(config.tls.server_config());
    let limit = config.handshake_timeout;
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

/// Reads what the client still sends, so that it receives the alert: a connection that is closed with unread
/// bytes is reset, and the alert is lost.
async fn drain_after_alert(mut stream: TcpStream) {
    let lingering = async {
        stream.shutdown().await?;
        copy(&mut stream.take(ALERT_LINGER_BYTES), &mut sink()).await
    };
    // The outcome does not matter: the client is rejected anyway.
    drop(timeout(ALERT_LINGER, lingering).await);
}
