//! A limit on patience: what never happens shall fail a test, not hang it.

use std::future::Future;
use std::time::Duration;

use anyhow::{Context, Result};

/// Far above anything that a working agent needs on a loaded machine; no test measures it.
const PATIENCE: Duration = Duration::from_secs(120);

/// Waits for `future`.
///
/// # Errors
///
/// It does not happen; the message says `what` was waited for.
pub async fn within<F: Future>(what: &str, future: F) -> Result<F::Output> {
    let outcome = tokio::time::timeout(PATIENCE, future).await;
    outcome.with_context(|| format!("waited in vain for {what}"))
}
