//! Starting: the tasks of an agent that is bound and confined.

use std::sync::Arc;

use taskstats_proto::FILE_DESCRIPTOR_SET;
use taskstats_proto::server::TaskstatsServiceServer;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic_health::pb::health_server::HealthServer;

use super::{Agent, HealthTask, InFlight, Resumed, Running, StartError};
use crate::config::Config;
use crate::listen::{Incoming, TlsAcceptorConfig};
use crate::rpc::{Health, SMALL_REQUEST, Service};
use crate::security::Callers;
use crate::security::tls::Reloader;
use crate::serve::Server;

impl Agent {
    /// Resumes from the state of the previous run, if there is one, and serves until [`Running::drain`].
    ///
    /// # Errors
    /// The exit reader or the reflection service cannot be started, or `--fail-fast` is set and exits
    /// cannot be watched.
    pub async fn start(mut self) -> Result<Running, StartError> {
        self.log_start();
        let Resumed { exits, prober, readiness, always_watch } = self.resume().await?;
        let node = Arc::new(self.node);
        let health = Health::default();
        health.begin().await;
        let health_task = HealthTask {
            prober,
            readiness: readiness.clone(),
            exits: Arc::clone(&exits),
            health: health.reporter(),
            always_watch,
        };
        let (tls, certificates) = (self.config.tls.clone(), self.certificates.as_ref());
        let Config { policy, redaction, limits, connection, .. } = self.config;
        let callers = Arc::new(Callers::new(policy, redaction, limits));
        let security = tls.zip(certificates).map(|(config, certificates)| TlsAcceptorConfig {
            tls: certificates.tls(),
            handshake_timeout: config.handshake_timeout,
            handshakes: self.handshakes,
            callers: Arc::clone(&callers),
        });
        let service = Service::new(
            self.kernel,
            Arc::clone(&exits),
            Arc::clone(&node),
            readiness.clone(),
            Arc::clone(&callers),
        );
        let max_request = connection.size.request;
        let service = TaskstatsServiceServer::new(service).max_decoding_message_size(max_request);
        let small = max_request.min(SMALL_REQUEST);
        let checks = HealthServer::new(health.checks()).max_decoding_message_size(small);
        let routes = Routes::new(service).add_service(checks);
        let routes = add_reflection(routes, small)?.prepare();
        let in_flight = InFlight(Arc::clone(&callers));
        let server = Server { routes, callers, limits: connection };
        let stop = CancellationToken::new();
        let incoming = Incoming::new(self.listeners, security);
        Ok(Running {
            serving: tokio::spawn(server.run(incoming, stop.clone())),
            reload: self.certificates.as_ref().map(Reloader::handle),
            reloading: self.certificates.map(|certificates| tokio::spawn(certificates.run())),
            in_flight,
            stop,
            exits,
            node,
            handover: self.handover,
            readiness,
            health_task: Some(health_task.start().await),
            health,
            fail_fast: self.config.fail_fast,
            drain_timeout: self.config.drain_timeout,
        })
    }
}

/// Adds the reflection service in both versions of its protocol, because grpcurl 1.8 and grpcio know only
/// the older one.
fn add_reflection(routes: Routes, max_request: usize) -> Result<Routes, StartError> {
    let builder = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            // The error details, which clients decode by reflection as well.
            .register_encoded_file_descriptor_set(tonic_types::pb::FILE_DESCRIPTOR_SET)
    };
    let newer = builder().build_v1()?.max_decoding_message_size(max_request);
    let older = builder().build_v1alpha()?.max_decoding_message_size(max_request);
    Ok(routes.add_service(newer).add_service(older))
}
