//! The memory that a full history takes, beside what was allowed.

use anyhow::{Context, Result, bail};
use taskstats_proto::v1::taskstats_service_client::TaskstatsServiceClient;
use taskstats_proto::v1::{GetNodeRequest, History};
use tokio::runtime;
use tonic::transport::Endpoint;

use super::Bench;
use crate::host::Host;
use crate::number::float;
use crate::procfs;
use crate::report::Report;
use crate::session::{Load, Session};

/// The name in figures.
pub(super) const NAME: &str = "history";

/// Small enough to be full after a second or two of full speed.
const SETTINGS: [&str; 2] = ["--history-bytes", "8MiB"];
/// A history that so many loads do not fill is not going to be full.
const MOST_LOADS: u32 = 20;
const KIB: f64 = 1024.0;
const GROWTH: &str = "memory grown until full";
const CAPACITY: &str = "memory allowed";

pub(super) fn round(bench: &Bench, report: &mut Report) -> Result<()> {
    let agent = Host::start(bench.agent(), &SETTINGS)?;
    let address = agent.address().to_owned();
    let session = Session::watching(agent, 1, false)?;
    let before = procfs::resident_kib(session.pid()?)?;
    let full = fill(bench, &address)?;
    let after = procfs::resident_kib(session.pid()?)?;
    report.record(NAME, GROWTH, "KiB", float(after.saturating_sub(before)));
    report.record(NAME, CAPACITY, "KiB", float(full.capacity_bytes) / KIB);
    report.record(NAME, "memory held by its own count", "KiB", float(full.bytes) / KIB);
    session.finish().map(drop)
}

pub(super) fn relate(report: &mut Report) -> Result<()> {
    report.relate(NAME, GROWTH, CAPACITY)
}

/// Has threads exit until the agent begins to forget them.
fn fill(bench: &Bench, address: &str) -> Result<History> {
    let load = Load { seconds: bench.seconds(), rate: None, stamp: false };
    for _ in 0..MOST_LOADS {
        load.run()?;
        let history = history(address)?;
        if history.first_sequence > 1 {
            return Ok(history);
        }
    }
    bail!("{MOST_LOADS} loads did not fill the history")
}

fn history(address: &str) -> Result<History> {
    runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
        let channel = Endpoint::from_shared(address.to_owned())?.connect().await?;
        let answer = TaskstatsServiceClient::new(channel).get_node(GetNodeRequest {}).await;
        answer.context("ask for the node")?.into_inner().history.context("a node without history")
    })
}
