//! The agent's health, by `grpc.health.v1`.

use anyhow::{Context, Result};
use tonic::Streaming;
use tonic::transport::Channel;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

use crate::deadline::within;

/// The service of the contract, by its full name.
pub const SERVICE: &str = "taskstats.v1.TaskstatsService";
/// The name of the agent as a whole.
pub const AGENT: &str = "";

/// A watch of one health.
#[derive(Debug)]
pub struct Health {
    stream: Streaming<HealthCheckResponse>,
}

/// Checks the health once.
///
/// # Errors
///
/// The agent does not know the service.
pub async fn health_of(channel: &Channel, service: &str) -> Result<ServingStatus> {
    let request = HealthCheckRequest { service: service.to_owned() };
    let response = HealthClient::new(channel.clone()).check(request).await?;
    Ok(response.into_inner().status())
}

impl Health {
    /// Watches the health of the service of the contract.
    ///
    /// # Errors
    ///
    /// The agent does not let itself be watched.
    pub async fn watch(channel: &Channel) -> Result<Self> {
        let request = HealthCheckRequest { service: SERVICE.to_owned() };
        let response = HealthClient::new(channel.clone()).watch(request).await?;
        Ok(Self { stream: response.into_inner() })
    }

    /// Waits until the health is this.
    ///
    /// # Errors
    ///
    /// The health does not change to it.
    pub async fn becomes(&mut self, wanted: ServingStatus) -> Result<()> {
        within("another health", async {
            loop {
                let reported =
                    self.stream.message().await?.context("the watch of the health ended")?;
                if reported.status() == wanted {
                    return Ok(());
                }
            }
        })
        .await?
    }
}
