//! `taskstatsctl health`.

use tonic_health::pb::HealthCheckResponse;

use super::failure::Failure;
use super::output::{Mode, Output};
use super::text::word;
use crate::{Client, ServingStatus};

/// Prints whether a service serves, and fails unless it does.
pub(super) async fn run(client: &Client, service: &str, out: &mut Output) -> Result<(), Failure> {
    let status = client.health(service).await?;
    let shown = status.as_str_name();
    match &out.mode {
        Mode::Table(_) => out.text(&format!("{shown}\n"))?,
        Mode::Compact => {
            out.text(&format!("health service={} status={shown}\n", word(service)))?;
        }
        Mode::Json(_) => out.document(&HealthCheckResponse { status: status.into() })?,
    }
    out.flush()?;
    if status == ServingStatus::Serving { Ok(()) } else { Err(Failure::Refused) }
}
