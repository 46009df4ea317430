//! A bare TLS client that reports how a handshake ended.

use std::sync::Arc;

use anyhow::{Context, Result};
use rustls::crypto::ring;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::certificates::{AGENT, Pair};
use crate::deadline::within;

/// The ALPN name of HTTP/2.
pub const H2: &[u8] = b"h2";

/// The TLS configuration of a client.
#[derive(Clone, Debug)]
pub struct Handshake {
    config: Arc<ClientConfig>,
}

/// The version of TLS that a client offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// TLS 1.2 alone.
    V1_2,
    /// TLS 1.3 alone.
    V1_3,
}

impl Handshake {
    /// Trusts a CA, and shows a certificate, if there is one.
    ///
    /// # Errors
    ///
    /// The certificates are none.
    pub fn new(version: Version, ca: &str, client: Option<&Pair>) -> Result<Self> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(ca.as_bytes())?)?;
        let versions: &[&SupportedProtocolVersion] = match version {
            Version::V1_2 => &[&TLS12],
            Version::V1_3 => &[&TLS13],
        };
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(versions)?
            .with_root_certificates(roots);
        let mut config = match client {
            None => builder.with_no_client_auth(),
            Some(pair) => builder.with_client_auth_cert(
                vec![CertificateDer::from_pem_slice(pair.certificate.as_bytes())?],
                PrivateKeyDer::from_pem_slice(pair.key.as_bytes())?,
            )?,
        };
        config.alpn_protocols = vec![H2.to_vec()];
        Ok(Self { config: Arc::new(config) })
    }

    /// Offers these protocols instead of HTTP/2.
    #[must_use]
    pub fn asking_for(mut self, protocols: &[&[u8]]) -> Self {
        Arc::make_mut(&mut self.config).alpn_protocols =
            protocols.iter().map(|name| name.to_vec()).collect();
        self
    }

    /// Connects to `tcp://address` and performs a handshake.
    ///
    /// # Errors
    ///
    /// One side rejected the other; the error has the reason.
    pub async fn with(&self, url: &str) -> Result<TlsStream<TcpStream>> {
        self.over(self.reach(url).await?).await
    }

    /// Connects to `tcp://address` without sending anything.
    ///
    /// # Errors
    ///
    /// No server listens at the address.
    pub async fn reach(&self, url: &str) -> Result<TcpStream> {
        let address = url.strip_prefix("tcp://").context("no tcp address")?;
        let stream = within("a connection", TcpStream::connect(address)).await??;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    /// Shakes hands over a connection that there is.
    ///
    /// # Errors
    ///
    /// One side rejected the other; the error has the reason.
    pub async fn over(&self, stream: TcpStream) -> Result<TlsStream<TcpStream>> {
        let connector = TlsConnector::from(Arc::clone(&self.config));
        let name = ServerName::try_from(AGENT)?;
        let shaken = within("a handshake", connector.connect(name, stream)).await?;
        Ok(shaken?)
    }

    /// Shakes hands, and waits for the first bytes, which a server sends only to a client that it
    /// lets in: in TLS 1.3 the client has finished before the server has judged it.
    ///
    /// # Errors
    ///
    /// One side rejected the other; the error has the reason.
    pub async fn first_byte(&self, url: &str) -> Result<TlsStream<TcpStream>> {
        self.first_byte_over(self.reach(url).await?).await
    }

    /// Does so on a connection.
    ///
    /// # Errors
    ///
    /// As [`Handshake::first_byte`].
    pub async fn first_byte_over(&self, stream: TcpStream) -> Result<TlsStream<TcpStream>> {
        let mut stream = self.over(stream).await?;
        within("the agent's first byte", stream.read_u8()).await??;
        Ok(stream)
    }
}
