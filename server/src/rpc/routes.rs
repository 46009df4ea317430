//! The gRPC services of the agent: taskstats, health and reflection.

use taskstats_proto::FILE_DESCRIPTOR_SET;
use taskstats_proto::server::TaskstatsServiceServer;
use tonic::service::Routes;
use tonic_health::pb::health_server::HealthServer;
use tonic_reflection::server::{Builder, Error};

use super::{Health, Service};

/// The largest request in bytes of the health and reflection services. Their requests are names, and
/// each connection may have so many at once that they do not get the size of a `BatchGet`.
pub const SMALL_REQUEST: usize = 4 << 10;

/// Returns all services.
///
/// # Errors
/// The reflection service cannot be built from the descriptors.
pub fn routes(service: Service, health: &Health, max_request: usize) -> Result<Routes, Error> {
    let small = max_request.min(SMALL_REQUEST);
    let service = TaskstatsServiceServer::new(service).max_decoding_message_size(max_request);
    let checks = HealthServer::new(health.checks()).max_decoding_message_size(small);
    // Both versions of reflection: many clients only know the older one.
    let v1 = reflection().build_v1()?.max_decoding_message_size(small);
    let v1alpha = reflection().build_v1alpha()?.max_decoding_message_size(small);
    let routes = Routes::new(service).add_service(checks).add_service(v1).add_service(v1alpha);
    Ok(routes.prepare())
}

fn reflection() -> Builder<'static> {
    Builder::configure()
        .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        // The messages of error details, which clients decode by reflection too.
        .register_encoded_file_descriptor_set(tonic_types::pb::FILE_DESCRIPTOR_SET)
}
