//! The cost of TLS: for an exit to a watcher with a certificate, and for a handshake.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use taskstats_tests::handshake::{Handshake, Version};
use taskstats_tests::tls_fixture::TlsFixture;
use tokio::runtime;
use tokio::task::JoinSet;

use super::{Bench, rotated};
use crate::host::Host;
use crate::number::{float, microseconds};
use crate::procfs;
use crate::report::Report;
use crate::session::{Load, Session};

/// The name in figures.
pub(super) const NAME: &str = "tls";

/// Clients that shake hands at once: enough that the agent never waits for one.
const CLIENTS: u32 = 4;

/// The transport of the watcher.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Transport {
    Unix,
    Tls,
}

const TRANSPORTS: [Transport; 2] = [Transport::Unix, Transport::Tls];

impl Transport {
    fn cost(self) -> &'static str {
        match self {
            Self::Unix => "CPU an exit, unix socket",
            Self::Tls => "CPU an exit, mutual TLS",
        }
    }
}

pub(super) fn round(bench: &Bench, round: u32, report: &mut Report) -> Result<()> {
    let fixture = TlsFixture::new()?;
    for transport in rotated(&TRANSPORTS, round) {
        let agent = start(bench.agent(), &fixture)?;
        let session = match transport {
            Transport::Unix => Session::watching(agent, 1, false)?,
            Transport::Tls => Session::watching_securely(agent, &fixture)?,
        };
        let load = Load { seconds: bench.seconds(), rate: None, stamp: false };
        let observed = session.measure(load, |_| Ok(()))?;
        let each = microseconds(observed.cpu) / float(observed.made.exits);
        report.record(NAME, transport.cost(), "µs", each);
    }
    handshakes(bench, &fixture, report)
}

pub(super) fn relate(report: &mut Report) -> Result<()> {
    report.relate(NAME, Transport::Tls.cost(), Transport::Unix.cost())
}

/// The same agent for both transports, so that they differ in nothing else.
fn start(binary: &Path, fixture: &TlsFixture) -> Result<Host> {
    let flags = fixture.mutual_flags();
    let unlimited = ["--max-handshake-rate", "0"];
    let flags = flags.iter().map(String::as_str).chain(unlimited);
    Host::start(binary, &flags.collect::<Vec<_>>())
}

fn handshakes(bench: &Bench, fixture: &TlsFixture, report: &mut Report) -> Result<()> {
    let agent = start(bench.agent(), fixture)?;
    let url = agent.port()?;
    let duration = Duration::from_secs(u64::from(bench.seconds()));
    let handshake = Handshake::new(Version::V1_3, fixture.authority.pem(), Some(&fixture.client))?;
    let before = procfs::cpu_time(agent.pid())?;
    let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
    let count = runtime.block_on(shake_hands(&handshake, url, duration))?;
    let cpu = procfs::cpu_time(agent.pid())?.saturating_sub(before);
    report.record(NAME, "mutual handshakes", "1/s", float(count) / duration.as_secs_f64());
    report.record(NAME, "CPU a mutual handshake", "µs", microseconds(cpu) / float(count));
    Ok(())
}

async fn shake_hands(handshake: &Handshake, url: &str, duration: Duration) -> Result<u64> {
    let end = Instant::now() + duration;
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        let (handshake, url) = (handshake.clone(), url.to_owned());
        clients.spawn(async move {
            let mut count = 0;
            while Instant::now() < end {
                handshake.first_byte(&url).await.context("shake hands")?;
                count += 1;
            }
            anyhow::Ok(count)
        });
    }
    let mut count = 0;
    while let Some(client) = clients.join_next().await {
        count += client??;
    }
    Ok(count)
}
