//! Plain gRPC clients, generated from the contract alone.

use anyhow::{Context, Result};
use taskstats_proto::v1::taskstats_service_client::TaskstatsServiceClient;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

use crate::certificates::Pair;
use crate::deadline::within;

/// A client of the agent's service.
pub type Client = TaskstatsServiceClient<Channel>;

/// The smallest HTTP/2 window that servers have to expect: 64 KiB − 1 (RFC 9113, 6.9.2).
const SMALLEST_WINDOW: u32 = 65_535;

/// Connects to `unix:///path` or `tcp://host:port`.
///
/// # Errors
///
/// No server listens at the address.
pub async fn connect(url: &str) -> Result<Channel> {
    open(endpoint(url)?, url).await
}

/// Connects with the smallest windows, so that the agent soon notices that the client does not
/// read.
///
/// # Errors
///
/// No server listens at the address.
pub async fn connect_narrowly(url: &str) -> Result<Channel> {
    let endpoint = endpoint(url)?
        .initial_stream_window_size(SMALLEST_WINDOW)
        .initial_connection_window_size(SMALLEST_WINDOW);
    open(endpoint, url).await
}

/// Connects a client of the agent's service.
///
/// # Errors
///
/// No server listens at the address.
pub async fn service(url: &str) -> Result<Client> {
    Ok(TaskstatsServiceClient::new(connect(url).await?))
}

/// Connects to `tcp://host:port` by TLS, trusting a CA and showing a certificate, if there is one.
/// The agent's certificate must have the name.
///
/// # Errors
///
/// No server listens at the address, or the handshake fails.
pub async fn connect_securely(
    url: &str,
    ca: &str,
    client: Option<&Pair>,
    name: &str,
) -> Result<Channel> {
    let config = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(ca)).domain_name(name);
    let config = match client {
        Some(pair) => config.identity(Identity::from_pem(&pair.certificate, &pair.key)),
        None => config,
    };
    let endpoint = Endpoint::from_shared(url.replace("tcp://", "https://"))?.tls_config(config)?;
    open(endpoint, url).await
}

async fn open(endpoint: Endpoint, url: &str) -> Result<Channel> {
    let connected = within("a connection", endpoint.connect()).await?;
    connected.with_context(|| format!("connect to {url}"))
}

fn endpoint(url: &str) -> Result<Endpoint> {
    Ok(Endpoint::from_shared(url.replace("tcp://", "http://"))?)
}
