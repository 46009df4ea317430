//! `taskstatsctl node`.

use crate::Client;
use crate::cli::error::CommandError;
use crate::cli::render::node::{compact, table};
use crate::cli::render::output::{Mode, Output};

/// Prints the node's and the agent's state.
pub(crate) async fn run(client: &Client, out: &mut Output) -> Result<(), CommandError> {
    let node = client.node().await?;
    match &out.mode {
        Mode::Table(style) => {
            let text = table(&node, style);
            out.text(&text)?;
        }
        Mode::Compact => out.text(&compact(&node))?,
        Mode::Json(_) => out.document(&node)?,
    }
    Ok(out.flush()?)
}
