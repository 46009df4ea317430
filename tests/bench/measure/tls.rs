//! What TLS costs: an exit on the way to a watcher with a certificate, and a handshake.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use taskstats_tests::handshake::{Handshake, Version};
use taskstats_tests::scene::Scene;
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

/// How the watcher is connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Unix,
    Tls,
}

const WAYS: [Way; 2] = [Way::Unix, Way::Tls];

impl Way {
    fn cost(self) -> &'static str {
        match self {
            Self::Unix => "CPU an exit, unix socket",
            Self::Tls => "CPU an exit, mutual TLS",
        }
    }
}

pub(super) fn round(bench: &Bench, round: u32, report: &mut Report) -> Result<()> {
    let scene = Scene::new()?;
    for way in rotated(&WAYS, round) {
        let agent = start(bench.agent(), &scene)?;
        let session = match way {
            Way::Unix => Session::watching(agent, 1, false)?,
            Way::Tls => Session::watching_securely(agent, &scene)?,
        };
        let load = Load { seconds: bench.seconds(), rate: None, stamp: false };
        let observed = session.measure(load, |_| Ok(()))?;
        let each = microseconds(observed.cpu) / float(observed.made.exits);
        report.record(NAME, way.cost(), "µs", each);
    }
    handshakes(bench, &scene, report)
}

pub(super) fn relate(report: &mut Report) -> Result<()> {
    report.relate(NAME, Way::Tls.cost(), Way::Unix.cost())
}

/// The same agent for both ways, so that they differ in nothing else.
fn start(binary: &Path, scene: &Scene) -> Result<Host> {
    let flags = scene.mutual_flags();
    Host::start(binary, &flags.iter().map(String::as_str).collect::<Vec<_>>())
}

fn handshakes(bench: &Bench, scene: &Scene, report: &mut Report) -> Result<()> {
    let agent = start(bench.agent(), scene)?;
    let url = agent.secure_address()?;
    let duration = Duration::from_secs(u64::from(bench.seconds()));
    let handshake = Handshake::new(Version::V1_3, scene.authority.pem(), Some(&scene.client))?;
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
                handshake.let_in(&url).await.context("shake hands")?;
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
