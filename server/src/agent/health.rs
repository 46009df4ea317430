//! The task that applies the outcome of self-tests: it sets the health of the service, and claims the CPUs
//! of `--always-watch`.

use std::sync::Arc;
use std::time::Duration;

use taskstats_proto::SERVICE_NAME;
use tokio::task::JoinHandle;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

use crate::backoff::Backoff;
use crate::exits::{Claim, Exits, WatchError};
use crate::readiness::{Prober, Readiness, Verdict};
use crate::taskstats::{Cpumask, KernelError};

/// The shortest delay before the CPUs of `--always-watch` are claimed again after a failure.
const MIN_DELAY: Duration = Duration::from_secs(1);
/// The longest delay.
const MAX_DELAY: Duration = Duration::from_secs(60);

/// The CPUs of `--always-watch`, which are claimed as soon as exits can be watched.
#[derive(Debug)]
pub(super) struct AlwaysWatch {
    cpus: Cpumask,
    claim: Option<Claim>,
}

impl AlwaysWatch {
    pub(super) fn new(cpus: Cpumask) -> Self {
        Self { cpus, claim: None }
    }

    /// Claims the CPUs unless they are claimed already.
    pub(super) async fn claim(&mut self, exits: &Exits) -> Result<(), WatchError> {
        if self.claim.is_none() {
            self.claim = Some(exits.claim(self.cpus.clone()).await?);
        }
        Ok(())
    }
}

/// A task that repeats the self-test and applies its outcome.
#[derive(Debug)]
pub(super) struct HealthTask {
    pub(super) prober: Prober,
    pub(super) readiness: Readiness,
    pub(super) exits: Arc<Exits>,
    pub(super) health: HealthReporter,
    pub(super) always_watch: Option<AlwaysWatch>,
}

/// A health task that was started.
#[derive(Debug)]
pub(super) struct RunningHealthTask {
    stop: CancellationToken,
    task: JoinHandle<Option<AlwaysWatch>>,
}

impl HealthTask {
    /// Sets the health of the service, and starts the task.
    pub(super) async fn start(self) -> RunningHealthTask {
        set_health(&self.health, &self.readiness.verdict()).await;
        let stop = CancellationToken::new();
        RunningHealthTask { stop: stop.clone(), task: tokio::spawn(self.run(stop)) }
    }

    /// Returns the claim, which the drain holds until the exit reader ends.
    async fn run(self, stop: CancellationToken) -> Option<AlwaysWatch> {
        let Self { prober, readiness, exits, health, mut always_watch } = self;
        tokio::select! {
            () = stop.cancelled() => {}
            () = prober.run() => {}
            () = follow(readiness, &exits, &health, always_watch.as_mut()) => {}
        }
        always_watch
    }
}

impl RunningHealthTask {
    /// Stops the task. The CPUs of `--always-watch` stay registered while the returned claim is held.
    pub(super) async fn end(self) -> Option<AlwaysWatch> {
        self.stop.cancel();
        self.task.await.ok().flatten()
    }
}

async fn follow(
    mut readiness: Readiness,
    exits: &Exits,
    health: &HealthReporter,
    mut always_watch: Option<&mut AlwaysWatch>,
) {
    let mut backoff = Backoff::new(MIN_DELAY, MAX_DELAY);
    let mut last_error = LastError::default();
    loop {
        let verdict = readiness.verdict();
        set_health(health, &verdict).await;
        let mut retry_after = None;
        if let Some(wanted) = always_watch.as_mut().filter(|_| verdict.is_ok())
            && let Err(error) = wanted.claim(exits).await
        {
            let delay = backoff.next_delay();
            if last_error.is_new(&error.to_string()) {
                tracing::warn!(
                    %error,
                    "watching the CPUs of --always-watch failed; retrying in {delay:.1?}"
                );
            }
            retry_after = Some(delay);
        } else if verdict.is_ok() {
            last_error = LastError::default();
        }
        tokio::select! {
            next = readiness.next() => match next {
                Some(_) => backoff.reset(),
                None => return,
            },
            () = sleep(retry_after.unwrap_or_default()), if retry_after.is_some() => {}
        }
    }
}

/// The error that was logged last, so that retries that fail alike are not logged.
#[derive(Debug, Default)]
struct LastError(Option<String>);

impl LastError {
    fn is_new(&mut self, error: &str) -> bool {
        let is_new = self.0.as_deref() != Some(error);
        if is_new {
            self.0 = Some(error.to_owned());
        }
        is_new
    }
}

/// Waits until a self-test fails, and returns its error.
pub(super) async fn exits_unavailable(mut readiness: Readiness) -> Arc<KernelError> {
    loop {
        match readiness.next().await {
            Some(Ok(())) => {}
            Some(Err(error)) => return error,
            None => std::future::pending().await,
        }
    }
}

async fn set_health(health: &HealthReporter, verdict: &Verdict) {
    let status = match verdict {
        Ok(()) => ServingStatus::Serving,
        Err(_) => ServingStatus::NotServing,
    };
    health.set_service_status(SERVICE_NAME, status).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_logged_when_it_changes() {
        let mut last = LastError::default();
        let errors = ["no descriptors", "no descriptors", "no memory", "no descriptors"];
        assert_eq!(errors.map(|error| last.is_new(error)), [true, false, true, true]);
    }
}
