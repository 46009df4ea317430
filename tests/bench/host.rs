//! The process between the suite and an agent: it ends the agent however the suite ends.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use crate::agent::Agent;
use crate::args::HostArgs;
use crate::control;
use crate::worker::Worker;

/// A hosted agent; dropped, it ends.
#[derive(Debug)]
pub(crate) struct Host {
    _process: Worker,
    serving: Serving,
}

/// The data of an agent that the suite needs.
#[derive(Debug, Deserialize, Serialize)]
struct Serving {
    pid: i32,
    address: String,
    /// `tcp://host:port`, if it listens on a port.
    port: Option<String>,
}

/// Starts an agent, reports its data, and ends it when the input ends.
pub(crate) fn run(args: &HostArgs) -> Result<()> {
    let agent = Agent::start(&args.binary, &args.settings)?;
    let serving =
        Serving { pid: agent.pid()?.as_raw(), address: agent.address(), port: agent.port()? };
    control::say(&serde_json::to_string(&serving)?)?;
    control::await_end()
}

impl Host {
    /// Starts an agent on a private socket with these settings, and waits until it serves.
    pub(crate) fn start(binary: &Path, settings: &[&str]) -> Result<Self> {
        let mut arguments = vec!["host".to_owned(), binary.display().to_string()];
        arguments.extend(settings.iter().map(|&setting| setting.to_owned()));
        let process = Worker::start(&arguments)?;
        let serving = process.response(Duration::ZERO)?;
        Ok(Self { _process: process, serving })
    }

    /// Returns the address of the private socket.
    pub(crate) fn address(&self) -> &str {
        &self.serving.address
    }

    /// The agent's port, `tcp://host:port`.
    pub(crate) fn port(&self) -> Result<&str> {
        self.serving.port.as_deref().context("an agent without a port")
    }

    /// The agent's process id.
    pub(crate) fn pid(&self) -> Pid {
        Pid::from_raw(self.serving.pid)
    }
}
