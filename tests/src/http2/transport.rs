//! The transport of a peer that writes frames by hand.

use std::net::Ipv4Addr;

use anyhow::Result;

use super::Raw;
use super::raw::{OTHER_ADDRESS, tcp_from};
use crate::handshake::Handshake;

/// An address, and the layer between it and HTTP/2.
#[derive(Debug, Clone)]
pub enum Transport {
    /// `unix:///path` or `tcp://address:port`, as it is.
    Plain(String),
    /// `tcp://address:port`, by TLS.
    Secure(String, Handshake),
}

impl Transport {
    /// Connects, and shakes hands if that is the transport; as [`Raw::connect`].
    ///
    /// # Errors
    ///
    /// No server listens at the address, or one side rejects the other.
    pub async fn connect(&self) -> Result<Raw> {
        self.connect_from(OTHER_ADDRESS).await
    }

    /// Connects, and shakes hands if that is the transport; as [`Raw::connect_from`].
    ///
    /// # Errors
    ///
    /// As in [`Transport::connect`].
    pub async fn connect_from(&self, source: Ipv4Addr) -> Result<Raw> {
        match self {
            Self::Plain(url) => Raw::connect_from(url, source).await,
            Self::Secure(url, handshake) => {
                let stream = tcp_from(url, source).await?;
                Ok(Raw::over(handshake.over(stream).await?))
            }
        }
    }

    /// Connects, and sends the preface and empty settings.
    ///
    /// # Errors
    ///
    /// As in [`Transport::connect`].
    pub async fn connected_with_preface(&self) -> Result<Raw> {
        self.connected_with_settings(&[]).await
    }

    /// Connects, and sends the preface and these settings.
    ///
    /// # Errors
    ///
    /// As in [`Transport::connect`].
    pub async fn connected_with_settings(&self, settings: &[u8]) -> Result<Raw> {
        self.connect().await?.send_preface(settings).await
    }
}
