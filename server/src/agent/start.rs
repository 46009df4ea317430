//! Starting: the tasks of an agent that is bound and confined.

use std::sync::Arc;

use tokio::net::unix::pipe::Receiver;
use tokio_util::sync::CancellationToken;

use super::{Agent, HealthTask, InFlight, Resumed, Running, StartError};
use crate::config::Config;
use crate::listen::{Incoming, TlsAcceptorConfig};
use crate::rpc::{Health, Service, routes};
use crate::security::Callers;
use crate::security::tls::Reloader;
use crate::serve::Server;
use crate::taskstats::BrokerError;

impl Agent {
    /// Resumes from the state of the previous run, if there is one, and serves until [`Running::drain`].
    ///
    /// # Errors
    /// The exit reader or the reflection service cannot be started, or `--fail-fast` is set and exits
    /// cannot be watched.
    pub async fn start(mut self) -> Result<Running, StartError> {
        self.log_start();
        let Resumed { exits, prober, readiness, always_watch, follower } = self.resume().await?;
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
        let Config { policy, redaction, limits, connection, compression, .. } = self.config;
        let callers = Arc::new(Callers::new(policy, redaction, limits));
        let security = tls.zip(certificates).map(|(config, certificates)| TlsAcceptorConfig {
            tls: certificates.tls(),
            handshake_timeout: config.handshake_timeout,
            handshake_rate: config.handshake_rate,
            handshakes: self.handshakes,
            callers: Arc::clone(&callers),
        });
        let service = Service::new(
            self.kernel,
            Arc::clone(&exits),
            Arc::clone(&node),
            readiness.clone(),
            Arc::clone(&callers),
            self.attribution.live(),
        );
        let routes = routes(service, &health, connection.size.request, compression)?;
        let in_flight = InFlight(Arc::clone(&callers));
        let server = Server { routes, callers, limits: connection };
        let broker_end = self.broker_end.map(Receiver::from_owned_fd).transpose();
        let broker_end =
            broker_end.map_err(|source| BrokerError::System { operation: "watching", source })?;
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
            broker_end,
            fail_fast: self.config.fail_fast,
            drain_timeout: self.config.drain_timeout,
            _follower: follower,
        })
    }
}
