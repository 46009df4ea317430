//! The gRPC services of the agent: taskstats, health and reflection.

use taskstats_proto::FILE_DESCRIPTOR_SET;
use taskstats_proto::server::TaskstatsServiceServer;
use tonic::codec::CompressionEncoding::{self, Gzip};
use tonic::service::Routes;
use tonic_health::pb::health_server::HealthServer;
use tonic_reflection::server::{Builder, Error};

use super::{Health, Service};

/// The largest request in bytes of the health and reflection services. Their requests are names, and
/// each connection may have so many at once that they do not get the size of a `BatchGet`.
pub(crate) const SMALL_REQUEST: usize = 4 << 10;

/// Returns all services. Requests may be compressed by gzip; responses are compressed by `encoding`
/// for clients that accept it.
///
/// # Errors
/// The reflection service cannot be built from the descriptors.
pub(crate) fn routes(
    service: Service,
    health: &Health,
    max_request: usize,
    encoding: Option<CompressionEncoding>,
) -> Result<Routes, Error> {
    let small = max_request.min(SMALL_REQUEST);
    // The generated servers have no trait in common.
    macro_rules! server {
        ($server:expr, $limit:expr) => {{
            let server = $server.max_decoding_message_size($limit).accept_compressed(Gzip);
            encoding.map_or(server.clone(), |encoding| server.send_compressed(encoding))
        }};
    }
    let routes = Routes::new(server!(TaskstatsServiceServer::new(service), max_request))
        .add_service(server!(HealthServer::new(health.checks()), small))
        // Both versions of reflection: many clients only know the older one.
        .add_service(server!(reflection().build_v1()?, small))
        .add_service(server!(reflection().build_v1alpha()?, small));
    Ok(routes.prepare())
}

fn reflection() -> Builder<'static> {
    Builder::configure()
        .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        // The messages of error details, which clients decode by reflection too.
        .register_encoded_file_descriptor_set(tonic_types::pb::FILE_DESCRIPTOR_SET)
}
