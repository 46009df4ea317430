//! `taskstatsctl health`.

use taskstats_proto::SERVICE_NAME;
use tonic_health::pb::HealthCheckResponse;

use crate::cli::error::CommandError;
use crate::cli::render::output::{Mode, Output};
use crate::cli::render::text::quoted;
use crate::{Client, ServingStatus};

/// The name of the whole agent in the health service, and the name for reading.
const WHOLE_AGENT: (&str, &str) = ("", "the agent");
/// The width of the widest status, and a gap.
const STATUS_WIDTH: usize = 16;

/// Prints the status of one service, or that of the agent and its service; fails unless all serve.
pub(crate) async fn run(
    client: &Client,
    service: Option<&str>,
    out: &mut Output,
) -> Result<(), CommandError> {
    let names = service.map_or_else(|| vec![WHOLE_AGENT.0, SERVICE_NAME], |name| vec![name]);
    let mut all_serve = true;
    for name in names {
        let status = client.health(name).await?;
        all_serve &= status == ServingStatus::Serving;
        print(name, status, service.is_none(), out)?;
    }
    out.flush()?;
    if all_serve { Ok(()) } else { Err(CommandError::Unsuccessful) }
}

fn print(
    name: &str,
    status: ServingStatus,
    is_named: bool,
    out: &mut Output,
) -> Result<(), CommandError> {
    let status_name = status.as_str_name();
    match &out.mode {
        Mode::Table(_) if is_named => {
            let (whole, title) = WHOLE_AGENT;
            let title = if name == whole { title } else { name };
            out.text(&format!("{status_name:<STATUS_WIDTH$}{title}\n"))?;
        }
        Mode::Table(_) => out.text(&format!("{status_name}\n"))?,
        Mode::Compact => {
            out.text(&format!("health service={} status={status_name}\n", quoted(name)))?;
        }
        Mode::Json(_) => out.document(&HealthCheckResponse { status: status.into() })?,
    }
    Ok(())
}
