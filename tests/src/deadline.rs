//! A time limit that turns a deadlock into a failure.

use std::future::Future;
use std::time::Duration;

use anyhow::{Context, Result};

/// Far above what a working agent needs on a loaded machine; no test measures it.
const PATIENCE: Duration = Duration::from_secs(300);

/// Waits for `future` to complete.
///
/// # Errors
///
/// `future` does not complete; the message contains `what`.
pub async fn within<F: Future>(what: &str, future: F) -> Result<F::Output> {
    let outcome = tokio::time::timeout(PATIENCE, future).await;
    outcome.with_context(|| format!("timed out waiting for {what}"))
}
