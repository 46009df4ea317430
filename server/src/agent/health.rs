//! What follows from whether exits can be watched: health, and the CPUs to always listen to.

use std::sync::Arc;
use std::time::Duration;

use taskstats_proto::SERVICE_NAME;
use tokio::task::JoinHandle;
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

/// CPUs to listen to even while nobody watches, as soon as that is possible.
#[derive(Debug)]
pub(super) struct AlwaysWatch {
    cpus: Cpumask,
    claim: Option<Claim>,
}

impl AlwaysWatch {
    pub(super) fn new(cpus: Cpumask) -> Self {
        Self { cpus, claim: None }
    }

    /// Has the CPUs listened to, unless they are.
    pub(super) async fn claim(&mut self, exits: &Exits) -> Result<(), WatchError> {
        if self.claim.is_none() {
            self.claim = Some(exits.claim(self.cpus.clone()).await?);
        }
        Ok(())
    }
}

/// Keeps the verdict, and does what follows from it.
#[derive(Debug)]
pub(super) struct HealthTask {
    pub(super) prober: Prober,
    pub(super) readiness: Readiness,
    pub(super) exits: Arc<Exits>,
    pub(super) health: HealthReporter,
    pub(super) always_watch: Option<AlwaysWatch>,
}

/// A watchdog that runs.
#[derive(Debug)]
pub(super) struct RunningHealthTask {
    stop: CancellationToken,
    task: JoinHandle<Option<AlwaysWatch>>,
}

impl HealthTask {
    /// Sets the health of the service, and follows the verdict from now on.
    pub(super) async fn start(self) -> RunningHealthTask {
        set_health(&self.health, &self.readiness.verdict()).await;
        let stop = CancellationToken::new();
        RunningHealthTask { stop: stop.clone(), task: tokio::spawn(self.run(stop)) }
    }

    /// Gives back the claim, so that CPUs are listened to until the reader ends.
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
    /// Ends it. As long as what it returns is held, the CPUs to always watch are listened to.
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
    let mut told = Told::default();
    loop {
        let verdict = readiness.verdict();
        set_health(health, &verdict).await;
        let mut retry_after = None;
        if let Some(wanted) = always_watch.as_mut().filter(|_| verdict.is_ok())
            && let Err(error) = wanted.claim(exits).await
        {
            let error = error.to_string();
            if told.is_new(&error) {
                tracing::warn!("--always-watch cannot be done yet: {error}");
            }
            retry_after = Some(backoff.next_delay());
        } else if verdict.is_ok() {
            told = Told::default();
        }
        tokio::select! {
            next = readiness.next() => match next {
                Some(_) => backoff.reset(),
                None => return,
            },
            () = tokio::time::sleep(retry_after.unwrap_or_default()), if retry_after.is_some() => {}
        }
    }
}

/// The cause that was told last, so that it is not told at each retry.
#[derive(Debug, Default)]
struct Told(Option<String>);

impl Told {
    fn is_new(&mut self, cause: &str) -> bool {
        let is_new = self.0.as_deref() != Some(cause);
        if is_new {
            self.0 = Some(cause.to_owned());
        }
        is_new
    }
}

/// Waits until exits cannot be watched.
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
    fn a_cause_is_told_when_it_changes() {
        let mut told = Told::default();
        let causes = ["no descriptors", "no descriptors", "no memory", "no descriptors"];
        assert_eq!(causes.map(|cause| told.is_new(cause)), [true, false, true, true]);
    }
}
