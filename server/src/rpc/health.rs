//! The health service (`grpc.health.v1`).

use std::future::Future;
use std::pin::Pin;
use std::task::Poll;

use futures_util::StreamExt;
use futures_util::stream::{BoxStream, poll_fn};
use taskstats_proto::SERVICE_NAME;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};
use tonic_health::ServingStatus;
use tonic_health::pb::health_server::Health as Contract;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};
use tonic_health::server::{HealthReporter, HealthService};

/// The service name of the agent as a whole.
const WHOLE_AGENT: &str = "";

/// The health of the agent and its service.
#[derive(Clone, Debug, Default)]
pub(crate) struct Health {
    reporter: HealthReporter,
    ended: CancellationToken,
}

/// Serves health checks.
#[derive(Debug)]
pub(crate) struct HealthChecks {
    service: HealthService,
    ended: CancellationToken,
}

impl Health {
    /// Returns the service that reports it.
    #[must_use]
    pub(crate) fn checks(&self) -> HealthChecks {
        let service = HealthService::from_health_reporter(self.reporter.clone());
        HealthChecks { service, ended: self.ended.clone() }
    }

    /// Reports the agent as a whole as serving.
    pub(crate) async fn begin(&self) {
        self.reporter.set_service_status(WHOLE_AGENT, ServingStatus::Serving).await;
    }

    /// Returns the reporter of the taskstats service's health.
    #[must_use]
    pub(crate) fn reporter(&self) -> HealthReporter {
        self.reporter.clone()
    }

    /// Reports everything as not serving, and ends the streams of health watchers, which would last
    /// until the drain deadline otherwise.
    pub(crate) async fn end(&self) {
        for name in [WHOLE_AGENT, SERVICE_NAME] {
            self.reporter.set_service_status(name, ServingStatus::NotServing).await;
        }
        self.ended.cancel();
    }
}

#[tonic::async_trait]
impl Contract for HealthChecks {
    type WatchStream = BoxStream<'static, Result<HealthCheckResponse, Status>>;

    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        self.service.check(request).await
    }

    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let mut changes = self.service.watch(request).await?.into_inner();
        let mut ended = Box::pin(self.ended.clone().cancelled_owned());
        // The last change is sent before the stream ends.
        let stream = poll_fn(move |context| match changes.poll_next_unpin(context) {
            Poll::Pending => Pin::as_mut(&mut ended).poll(context).map(|()| None),
            change => change,
        });
        Ok(Response::new(stream.boxed()))
    }
}

#[cfg(test)]
mod tests {
    use tonic_health::pb::health_check_response::ServingStatus as Wire;

    use super::*;

    fn about(service: &str) -> Request<HealthCheckRequest> {
        Request::new(HealthCheckRequest { service: service.to_owned() })
    }

    /// While the agent drains, checks report that it does not serve, not that it is unknown.
    #[tokio::test]
    async fn an_agent_that_ends_does_not_serve() {
        let health = Health::default();
        health.begin().await;
        let checks = health.checks();
        let watched = checks.watch(about(WHOLE_AGENT)).await.unwrap().into_inner();
        health.end().await;
        for name in [WHOLE_AGENT, SERVICE_NAME] {
            let response = checks.check(about(name)).await.unwrap().into_inner();
            assert_eq!(response.status(), Wire::NotServing, "{name}");
        }
        let reported: Vec<_> = watched.map(|change| change.unwrap().status()).collect().await;
        assert_eq!(reported, [Wire::NotServing]);
    }
}
