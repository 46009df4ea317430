//! The memory of an idle agent and of one with a full history, and the speed of a replay of that.

use anyhow::{Context, Result, bail, ensure};
use taskstats_proto::v1::taskstats_service_client::TaskstatsServiceClient;
use taskstats_proto::v1::{GetNodeRequest, History};
use tokio::runtime;
use tonic::transport::Endpoint;

use super::{Bench, rotated};
use crate::args::Reading;
use crate::goals::HISTORY_MIB;
use crate::host::Host;
use crate::number::{float, same};
use crate::procfs;
use crate::replay;
use crate::report::Report;
use crate::session::{Load, Session};

/// The name in figures.
pub(super) const NAME: &str = "history";

/// A history that so many loads do not fill is not going to be full.
const MOST_LOADS: u32 = 60;
const KIB_PER_MIB: f64 = 1024.0;
const BYTES_PER_MIB: f64 = 1024.0 * 1024.0;
const MILLION: f64 = 1e6;
const FULL: &str = "resident memory, history full";
const CAPACITY: &str = "memory allowed to the history";

pub(super) fn round(bench: &Bench, round: u32, report: &mut Report) -> Result<()> {
    let agent = Host::start(bench.agent(), &[])?;
    let address = agent.address().to_owned();
    let session = Session::watching(agent, 1, false)?;
    report.record(NAME, "resident memory, idle", "MiB", resident(&session)?);
    let full = fill(bench, &address)?;
    report.record(NAME, FULL, "MiB", resident(&session)?);
    report.record(NAME, CAPACITY, "MiB", float(full.capacity_bytes) / BYTES_PER_MIB);
    report.record(NAME, "memory held by its own count", "MiB", float(full.bytes) / BYTES_PER_MIB);
    for reading in rotated(&Reading::ALL, round) {
        let replayed = replay::of(&address, reading, full.last_sequence)?;
        let per_second = replayed.per_second / MILLION;
        report.record(NAME, format!("replay, {}", reading.name()), "million events/s", per_second);
        let events = format!("exits of a replay, {}", reading.name());
        report.record(NAME, events, "exits", float(replayed.events));
    }
    session.finish().map(drop)
}

pub(super) fn relate(report: &mut Report) -> Result<()> {
    report.relate(NAME, FULL, CAPACITY)
}

fn resident(session: &Session) -> Result<f64> {
    Ok(float(procfs::resident_kib(session.pid()?)?) / KIB_PER_MIB)
}

/// Makes threads exit until the agent begins to evict exits.
fn fill(bench: &Bench, address: &str) -> Result<History> {
    let load = Load { seconds: bench.seconds(), rate: None, stamp: false };
    for _ in 0..MOST_LOADS {
        load.run()?;
        let history = history(address)?;
        let capacity = float(history.capacity_bytes) / BYTES_PER_MIB;
        ensure!(same(capacity, HISTORY_MIB), "the goals hold for another history by default");
        if history.first_sequence > 1 {
            return Ok(history);
        }
    }
    bail!("{MOST_LOADS} loads did not fill the history")
}

fn history(address: &str) -> Result<History> {
    runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
        let channel = Endpoint::from_shared(address.to_owned())?.connect().await?;
        let response = TaskstatsServiceClient::new(channel).get_node(GetNodeRequest {}).await;
        response.context("call GetNode")?.into_inner().history.context("a node without history")
    })
}
