//! The latency of a health check while others attack the agent.

use std::time::{Duration, Instant};

use anyhow::Result;
use tokio::runtime;

use super::Bench;
use super::query::{Call, Caller};
use crate::args::Attack;
use crate::host::Host;
use crate::number::{median, microseconds};
use crate::report::Report;
use crate::worker::Worker;

/// The name in figures.
pub(super) const NAME: &str = "attacks";

/// The figure of many replays, and the one before them.
pub(crate) const REPLAYED: &str = "median of a health check, 128 redacted replays";
pub(crate) const BEFORE_REPLAYS: &str = "median of a health check, before the replays";

/// An attack, and the agent that it is made on.
struct Scene {
    attack: Attack,
    connections: u32,
    /// The listener of the attackers; the victim uses the other one.
    by_port: bool,
    flags: &'static [&'static str],
    /// Names of figures: the medians before and meanwhile, and the longest meanwhile.
    before: &'static str,
    meanwhile: &'static str,
    longest: &'static str,
}

/// Callers of the port have no role.
const NO_ROLE: &[&str] =
    &["--allow", "uid:0=query,watch,node", "--listen", "tcp://127.0.0.1:0", "--insecure"];
/// A machine on which many tasks exit, and fields that are removed for callers without a role.
const REDACTED: &[&str] = &[
    "--kernel",
    "sim:cpus=2,rate=15000,seed=1",
    "--always-watch",
    "all",
    "--redact",
    "comm,io",
    "--listen",
    "tcp://127.0.0.1:0",
    "--insecure",
];
/// The time in which the simulated machine fills a history.
const FILLING: Duration = Duration::from_secs(4);

const SCENES: [Scene; 3] = [
    Scene {
        attack: Attack::Pings,
        connections: 512,
        by_port: true,
        flags: NO_ROLE,
        before: "median of a health check, before the PINGs",
        meanwhile: "median of a health check, 512 connections with PINGs",
        longest: "longest health check, 512 connections with PINGs",
    },
    Scene {
        attack: Attack::Settings,
        connections: 64,
        by_port: true,
        flags: NO_ROLE,
        before: "median of a health check, before the SETTINGS",
        meanwhile: "median of a health check, 64 connections with SETTINGS",
        longest: "longest health check, 64 connections with SETTINGS",
    },
    Scene {
        attack: Attack::Replays,
        connections: 128,
        by_port: false,
        flags: REDACTED,
        before: BEFORE_REPLAYS,
        meanwhile: REPLAYED,
        longest: "longest health check, 128 redacted replays",
    },
];

pub(super) fn round(bench: &Bench, report: &mut Report) -> Result<()> {
    SCENES.iter().try_for_each(|scene| scene.play(bench, report))
}

pub(super) fn relate(report: &mut Report) -> Result<()> {
    SCENES.iter().try_for_each(|scene| report.relate(NAME, scene.meanwhile, scene.before))
}

impl Scene {
    fn play(&self, bench: &Bench, report: &mut Report) -> Result<()> {
        let agent = Host::start(bench.agent(), self.flags)?;
        if self.attack == Attack::Replays {
            std::thread::sleep(FILLING);
        }
        let port = agent.port()?;
        let http = port.replacen("tcp:", "http:", 1);
        let (target, other) =
            if self.by_port { (port, agent.address()) } else { (agent.address(), &*http) };
        let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
        let mut caller = runtime.block_on(Caller::connect(other))?;
        let duration = Duration::from_secs(u64::from(bench.seconds()));
        let before = runtime.block_on(checks(&mut caller, duration))?;
        let attackers = Worker::start_counting(&self.arguments(target))?;
        let meanwhile = runtime.block_on(checks(&mut caller, duration))?;
        drop(attackers);
        report.record(NAME, self.before, "µs", median(&before));
        report.record(NAME, self.meanwhile, "µs", median(&meanwhile));
        let longest = meanwhile.iter().copied().fold(0.0, f64::max);
        report.record(NAME, self.longest, "µs", longest);
        Ok(())
    }

    fn arguments(&self, target: &str) -> [String; 7] {
        [
            "attack".to_owned(),
            "--attack".to_owned(),
            self.attack.name().to_owned(),
            "--address".to_owned(),
            target.to_owned(),
            "--connections".to_owned(),
            self.connections.to_string(),
        ]
    }
}

/// Makes health checks for a while, and returns how long each lasted, in microseconds.
async fn checks(caller: &mut Caller, duration: Duration) -> Result<Vec<f64>> {
    let mut times = Vec::new();
    let end = Instant::now() + duration;
    while times.is_empty() || Instant::now() < end {
        let begin = Instant::now();
        caller.call(Call::Check).await?;
        times.push(microseconds(begin.elapsed()));
    }
    Ok(times)
}
