//! Health checks and server reflection, which generic clients rely on.

use anyhow::{Context, Result, bail};
use taskstats_proto::SERVICE_NAME;
use taskstats_tests::agent::Agent;
use taskstats_tests::client::connect;
use taskstats_tests::machine_lock::MachineLock;
use tokio_stream::once;
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::{v1, v1alpha};

/// The other service that every listener has.
const HEALTH: &str = "grpc.health.v1.Health";

/// The server as a whole and the service itself are healthy, and no other service is known.
#[tokio::test]
async fn both_health_names_are_serving() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let agent = Agent::start().await?;
    let mut health = HealthClient::new(connect(&agent.url()).await?);
    for service in ["", SERVICE_NAME] {
        let request = HealthCheckRequest { service: service.to_owned() };
        let status = health.check(request).await?.into_inner().status();
        assert_eq!(status, ServingStatus::Serving, "{service:?}");
    }
    let unknown = HealthCheckRequest { service: "taskstats.v0.Nothing".to_owned() };
    let status = health.check(unknown).await.err().context("an unknown service is healthy")?;
    assert_eq!(status.code(), Code::NotFound);
    Ok(())
}

/// Defines a test of one version of the reflection service. The versions have the same messages and
/// different types.
macro_rules! lists_the_services {
    ($test:ident, $version:ident) => {
        #[tokio::test]
        async fn $test() -> Result<()> {
            use $version::server_reflection_client::ServerReflectionClient;
            use $version::server_reflection_request::MessageRequest;
            use $version::server_reflection_response::MessageResponse;
            let _lock = MachineLock::shared()?;
            let agent = Agent::start().await?;
            let mut client = ServerReflectionClient::new(connect(&agent.url()).await?);
            let request = $version::ServerReflectionRequest {
                host: String::new(),
                message_request: Some(MessageRequest::ListServices(String::new())),
            };
            let mut stream = client.server_reflection_info(once(request)).await?.into_inner();
            let response = stream.message().await?.context("no response")?.message_response;
            let Some(MessageResponse::ListServicesResponse(list)) = response else {
                bail!("{response:?}")
            };
            let names: Vec<_> = list.service.into_iter().map(|service| service.name).collect();
            assert_listed(&names);
            Ok(())
        }
    };
}

lists_the_services!(reflection_v1_lists_the_services, v1);
// Older clients use this version.
lists_the_services!(reflection_v1alpha_lists_the_services, v1alpha);

fn assert_listed(names: &[String]) {
    for wanted in [SERVICE_NAME, HEALTH] {
        assert!(names.iter().any(|name| name == wanted), "{wanted} is not among {names:?}");
    }
}
