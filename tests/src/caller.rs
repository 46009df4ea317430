//! A well-behaved caller beside those that are not.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, ensure};
use taskstats_proto::v1::GetPidRequest;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::client::{Client, service};
use crate::deadline::within;

/// Asks for the account of this process, again and again, on a connection of its own.
#[derive(Debug)]
pub struct Caller {
    answered: watch::Receiver<u64>,
    enough: Arc<AtomicBool>,
    calls: JoinHandle<Result<()>>,
}

impl Caller {
    /// Begins to call, and waits for the first answer.
    ///
    /// # Errors
    ///
    /// Nobody listens there, or nobody answers.
    pub async fn start(url: &str) -> Result<Self> {
        let client = service(url).await?;
        let (count, answered) = watch::channel(0);
        let enough = Arc::new(AtomicBool::new(false));
        let calls = tokio::spawn(call(client, count, Arc::clone(&enough)));
        let mut caller = Self { answered, enough, calls };
        caller.served(1).await?;
        Ok(caller)
    }

    /// Returns how many calls were answered so far.
    #[must_use]
    pub fn answered(&self) -> u64 {
        *self.answered.borrow()
    }

    /// Waits for so many more answers.
    ///
    /// # Errors
    ///
    /// A call failed.
    pub async fn served(&mut self, calls: u64) -> Result<()> {
        let wanted = self.answered() + calls;
        let served = self.answered.wait_for(|answered| *answered >= wanted);
        within("answers", served).await?.context("a well-behaved call failed")?;
        Ok(())
    }

    /// Ends, and returns how many calls were answered: all of them.
    ///
    /// # Errors
    ///
    /// One was not.
    pub async fn stop(self) -> Result<u64> {
        self.enough.store(true, Ordering::Relaxed);
        within("the last call", self.calls).await???;
        Ok(*self.answered.borrow())
    }
}

async fn call(
    mut client: Client,
    count: watch::Sender<u64>,
    enough: Arc<AtomicBool>,
) -> Result<()> {
    let pid = std::process::id();
    while !enough.load(Ordering::Relaxed) {
        let answer = within("an answer", client.get_pid(GetPidRequest { pid })).await??;
        ensure!(answer.into_inner().stats.is_some(), "an answer of nothing");
        count.send_modify(|count| *count += 1);
    }
    Ok(())
}
