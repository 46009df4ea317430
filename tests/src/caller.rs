//! A well-behaved client, which other clients must not disturb.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use taskstats_proto::SERVICE_NAME;
use taskstats_proto::v1::{BatchGetRequest, GetPidRequest};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tonic::transport::Channel;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::client::{Client, connect};
use crate::deadline::within;

/// A kind of call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Question {
    /// `GetPid` of this process.
    Account,
    /// `BatchGet` of a few tasks.
    Batch,
    /// A health check of the service.
    Health,
}

/// Repeats a call on a separate connection.
#[derive(Debug)]
pub struct Caller {
    answered: watch::Receiver<u64>,
    enough: Arc<AtomicBool>,
    calls: JoinHandle<Result<Vec<Duration>>>,
}

/// The latency of a client's calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Served {
    /// The number of calls, all of which succeeded.
    pub answered: u64,
    /// The median latency.
    pub median: Duration,
    /// The 99th percentile of the latency.
    pub most: Duration,
}

impl fmt::Display for Served {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { answered, median, most } = self;
        write!(f, "{answered} calls answered, {median:.1?}, 99 of 100 within {most:.1?}")
    }
}

impl Question {
    /// One of each kind.
    pub const ALL: [Self; 3] = [Self::Account, Self::Batch, Self::Health];

    /// Makes one call.
    async fn ask(self, channel: &Channel) -> Result<()> {
        let pid = std::process::id();
        let mut client = Client::new(channel.clone());
        match self {
            Self::Account => {
                let response =
                    client.get_pid(GetPidRequest { pid, ..Default::default() }).await?.into_inner();
                ensure!(response.stats.is_some(), "a response without statistics");
            }
            Self::Batch => {
                let request =
                    BatchGetRequest { pids: vec![pid, 1], tgids: vec![pid], ..Default::default() };
                let results = client.batch_get(request).await?.into_inner().results;
                ensure!(results.len() == 3, "{} results of 3", results.len());
            }
            Self::Health => {
                let request = HealthCheckRequest { service: SERVICE_NAME.to_owned() };
                let health = HealthClient::new(channel.clone()).check(request).await?.into_inner();
                ensure!(health.status() == ServingStatus::Serving, "{health:?}");
            }
        }
        Ok(())
    }
}

impl Caller {
    /// Starts to call `GetPid` of this process, and waits for the first response.
    ///
    /// # Errors
    ///
    /// No server listens at the address, or the first call fails.
    pub async fn start(url: &str) -> Result<Self> {
        Self::asking(Question::Account, connect(url).await?).await
    }

    /// Starts to make calls, and waits for the first response.
    ///
    /// # Errors
    ///
    /// The first call fails.
    pub async fn asking(question: Question, channel: Channel) -> Result<Self> {
        let (count, answered) = watch::channel(0);
        let enough = Arc::new(AtomicBool::new(false));
        let calls = tokio::spawn(call(question, channel, count, Arc::clone(&enough)));
        let mut caller = Self { answered, enough, calls };
        caller.served(1).await?;
        Ok(caller)
    }

    /// Returns the number of calls that have succeeded so far.
    #[must_use]
    pub fn answered(&self) -> u64 {
        *self.answered.borrow()
    }

    /// Waits for `calls` further responses.
    ///
    /// # Errors
    ///
    /// A call failed.
    pub async fn served(&mut self, calls: u64) -> Result<()> {
        let wanted = self.answered() + calls;
        let served = self.answered.wait_for(|answered| *answered >= wanted);
        within("responses", served).await?.context("a well-behaved call failed")?;
        Ok(())
    }

    /// Ends, and returns how it was served.
    ///
    /// # Errors
    ///
    /// A call failed.
    pub async fn stop(self) -> Result<Served> {
        self.enough.store(true, Ordering::Relaxed);
        let mut took = within("the last call", self.calls).await???;
        took.sort_unstable();
        let of_hundred = |part: usize| took.get(took.len() * part / 100).copied();
        Ok(Served {
            answered: u64::try_from(took.len())?,
            median: of_hundred(50).context("no response")?,
            most: of_hundred(99).context("no response")?,
        })
    }
}

async fn call(
    question: Question,
    channel: Channel,
    count: watch::Sender<u64>,
    enough: Arc<AtomicBool>,
) -> Result<Vec<Duration>> {
    let mut took = Vec::new();
    while !enough.load(Ordering::Relaxed) {
        let asked = Instant::now();
        within("a response", question.ask(&channel)).await??;
        took.push(asked.elapsed());
        count.send_modify(|count| *count += 1);
    }
    Ok(took)
}
