//! The life of an agent, from its configuration to its end.

use std::convert::Infallible;
use std::sync::Arc;

use sd_notify::NotifyState;
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe::Receiver;

use super::limits::{soft_limits, warn_of_lowered_limits};
use super::{Agent, Drained, Running, StartError, exits_unavailable};
use crate::advice::HasCause;
use crate::config::Config;
use crate::inherit::Inherited;
use crate::notify;
use crate::security::tls::ReloadHandle;
use crate::signals::{AgentSignals, EndSignals};
use crate::taskstats::KernelError;

/// An error that ends an agent.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The agent did not start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// Exits can no longer be watched, and `--fail-fast` is set.
    #[error("exits can no longer be watched, and --fail-fast is set: {}", .0.advised())]
    ExitsUnavailable(Arc<KernelError>),
    /// A task of the agent ended by itself.
    #[error("serving ended: {0}")]
    Broken(&'static str),
}

/// Binds, starts, serves until a signal or a failure, and drains.
///
/// # Errors
/// [`RunError`].
pub(crate) async fn run(
    config: Config,
    inherited: Vec<Inherited>,
    mut signals: AgentSignals,
) -> Result<Drained, RunError> {
    let mut running = Agent::bind(config, inherited).await?.confine()?.start().await?;
    let limits = soft_limits();
    tracing::info!("ready");
    notify_manager(&[NotifyState::Ready]);
    let reload = running.reload.clone();
    let unavailable = tokio::select! {
        () = end_requested(&mut signals, reload.as_ref()) => None,
        never = ping_watchdog() => match never {},
        never = warn_of_lowered_limits(limits) => match never {},
        error = running.failed() => match error {
            error @ RunError::ExitsUnavailable(_) => Some(error),
            error => return Err(error),
        },
    };
    notify_manager(&[NotifyState::Stopping]);
    tracing::info!("draining; a second signal aborts");
    let drained = drain(running, &mut signals.end).await;
    unavailable.map_or(Ok(drained), Err)
}

impl Running {
    /// Waits for an error that ends the agent.
    async fn failed(&mut self) -> RunError {
        let broker_ended = broker_ended(self.broker_end.as_mut());
        let unavailable = exits_unavailable(self.readiness.clone());
        tokio::select! {
            served = &mut self.serving => RunError::Broken(match served {
                Ok(()) => "the server returned",
                Err(_) => "the server panicked",
            }),
            () = self.exits.ended() => RunError::Broken("the exit reader ended"),
            () = broker_ended => RunError::Broken("the broker ended"),
            error = unavailable, if self.fail_fast => RunError::ExitsUnavailable(error),
        }
    }
}

/// Waits for the end of the broker, if there is one.
async fn broker_ended(end: Option<&mut Receiver>) {
    match end {
        // Nothing is ever written, so that the read returns at the end.
        Some(end) => drop(end.read_u8().await),
        None => std::future::pending().await,
    }
}

/// Waits for a signal that requests the end. At each SIGHUP until then, the certificates are read again.
async fn end_requested(signals: &mut AgentSignals, reload: Option<&ReloadHandle>) {
    let AgentSignals { end, reload: hangup, .. } = signals;
    let reloads = async {
        while hangup.recv().await.is_some() {
            match reload {
                Some(certificates) => certificates.read_now(),
                None => tracing::info!("ignored SIGHUP: there are no certificates to read again"),
            }
        }
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = end.recv() => {}
        () = reloads => {}
    }
}

/// Drains until the end of all calls, the deadline, or a second signal.
async fn drain(running: Running, signals: &mut EndSignals) -> Drained {
    let in_flight = running.in_flight();
    tokio::select! {
        drained = running.drain() => drained,
        never = ping_watchdog() => match never {},
        () = signals.recv() => {
            tracing::warn!("received a second signal; aborting {in_flight}");
            Drained::Aborted
        }
    }
}

/// Notifies the service manager that the event loop runs, twice in each period of its watchdog
/// (`WatchdogSec=`). Without a watchdog it never wakes. It does not return.
async fn ping_watchdog() -> Infallible {
    let Some(period) = sd_notify::watchdog_enabled().filter(|period| !period.is_zero()) else {
        return std::future::pending().await;
    };
    let mut interval = tokio::time::interval(period / 2);
    loop {
        interval.tick().await;
        notify_manager(&[NotifyState::Watchdog]);
    }
}

/// Notifies the service manager, if there is one.
fn notify_manager(state: &[NotifyState<'_>]) {
    if let Err(error) = notify::send(state) {
        tracing::warn!(%error, "notifying the service manager failed");
    }
}
