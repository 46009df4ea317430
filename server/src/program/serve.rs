//! The command without a name: serve.

use super::{Error, Outcome, raise_fd_limit, start_log};
use crate::agent::{self, Drained};
use crate::config::{Args, Config};
use crate::inherit;
use crate::signals::{self, AgentSignals};

/// Serves until a signal or a failure ends the agent.
pub(super) fn serve(args: Args) -> Result<Outcome, Error> {
    signals::block_agent_signals().map_err(Error::Signals)?;
    let inherited = inherit::take().map_err(Error::Inherited)?;
    start_log(&args)?;
    tracing::info!(version = %env!("CARGO_PKG_VERSION"), "starting taskstatsd");
    raise_fd_limit();
    let config = Config::try_from(args)?;
    let runtime = agent::runtime().map_err(Error::Runtime)?;
    let drained = runtime.block_on(async {
        let signals = AgentSignals::install().map_err(Error::Signals)?;
        Ok::<_, Error>(agent::run(config, inherited, signals).await?)
    });
    // Calls that are blocked in the kernel do not delay the end.
    runtime.shutdown_background();
    Ok(match drained? {
        Drained::Complete => Outcome::Complete,
        Drained::Aborted => Outcome::Aborted,
    })
}
