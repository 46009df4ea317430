//! `GetPid` compared with the cheapest rpc of the same server, a health check.

use std::net::{IpAddr, Ipv4Addr};
use std::process;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use taskstats_proto::v1::GetPidRequest;
use taskstats_proto::v1::taskstats_service_client::TaskstatsServiceClient;
use tokio::runtime;
use tokio::task::JoinSet;
use tonic::transport::{Channel, Endpoint};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use super::Bench;
use crate::host::Host;
use crate::number::{float, median, microseconds};
use crate::report::Report;

/// The name in figures.
pub(super) const NAME: &str = "query";

/// The call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Call {
    GetPid,
    Check,
}

/// One connection, with a client for each call.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    tasks: TaskstatsServiceClient<Channel>,
    health: HealthClient<Channel>,
}

const CALLS: [Call; 2] = [Call::GetPid, Call::Check];
/// Concurrent callers, each on a separate connection.
pub(super) const CALLERS: u32 = 32;
/// Callers of an address. The agent serves few health checks of a principal at the same time, so the callers
/// are several principals, which a port distinguishes by their addresses.
const CALLERS_OF_AN_ADDRESS: u32 = 4;
/// The address of the first of them.
const FIRST_ADDRESS: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
/// A port for them, without the cost of TLS.
pub(super) const PORT: [&str; 3] = ["--listen", "tcp://127.0.0.1:0", "--insecure"];
/// The number of turns of both calls in a round.
pub(super) const TURNS: u32 = 4;

impl Call {
    const fn name(self) -> &'static str {
        match self {
            Self::GetPid => "GetPid",
            Self::Check => "health check",
        }
    }

    fn alone(self) -> String {
        format!("median of a lone caller, {}", self.name())
    }

    fn together(self) -> String {
        format!("{CALLERS} callers, {}", self.name())
    }
}

impl Caller {
    pub(super) async fn connect(address: &str) -> Result<Self> {
        Self::connect_from(None, address).await
    }

    /// Connects from a local address, if it is given.
    async fn connect_from(local: Option<IpAddr>, address: &str) -> Result<Self> {
        let endpoint = Endpoint::from_shared(address.to_owned())?.local_address(local);
        let channel = endpoint.connect().await?;
        let tasks = TaskstatsServiceClient::new(channel.clone());
        Ok(Self { tasks, health: HealthClient::new(channel) })
    }

    pub(super) async fn call(&mut self, call: Call) -> Result<()> {
        match call {
            Call::GetPid => {
                let request = GetPidRequest { pid: process::id(), ..Default::default() };
                self.tasks.get_pid(request).await.context("get a pid")?;
            }
            Call::Check => {
                let request = HealthCheckRequest { service: String::new() };
                self.health.check(request).await.context("check the health")?;
            }
        }
        Ok(())
    }

    async fn call_until(mut self, call: Call, end: Instant) -> Result<u64> {
        let mut calls = 0;
        while Instant::now() < end {
            self.call(call).await?;
            calls += 1;
        }
        Ok(calls)
    }
}

pub(super) fn round(bench: &Bench, report: &mut Report) -> Result<()> {
    let agent = Host::start(bench.agent(), &PORT)?;
    let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
    let duration = Duration::from_secs(u64::from(bench.seconds()));
    runtime.block_on(async {
        alone(agent.address(), duration, report).await?;
        together(&agent.port()?.replacen("tcp:", "http:", 1), duration, report).await
    })
}

pub(super) fn relate(report: &mut Report) -> Result<()> {
    report.relate(NAME, &Call::GetPid.alone(), &Call::Check.alone())?;
    report.relate(NAME, &Call::GetPid.together(), &Call::Check.together())
}

/// Alternates the two calls, one by one.
async fn alone(address: &str, duration: Duration, report: &mut Report) -> Result<()> {
    let mut caller = Caller::connect(address).await?;
    let mut times = CALLS.map(|_| Vec::new());
    let end = Instant::now() + duration;
    while Instant::now() < end {
        for (call, times) in CALLS.into_iter().zip(&mut times) {
            let begin = Instant::now();
            caller.call(call).await?;
            times.push(microseconds(begin.elapsed()));
        }
    }
    for (call, times) in CALLS.into_iter().zip(&times) {
        report.record(NAME, call.alone(), "µs", median(times));
    }
    Ok(())
}

/// Connects [`CALLERS`] callers.
pub(super) async fn connect_all(address: &str) -> Result<Vec<Caller>> {
    let mut callers = Vec::new();
    for caller in 0..CALLERS {
        let host = FIRST_ADDRESS.to_bits() + caller / CALLERS_OF_AN_ADDRESS;
        let local = IpAddr::from(Ipv4Addr::from_bits(host));
        callers.push(Caller::connect_from(Some(local), address).await?);
    }
    Ok(callers)
}

/// Alternates the two calls, [`TURNS`] times.
async fn together(address: &str, duration: Duration, report: &mut Report) -> Result<()> {
    let callers = connect_all(address).await?;
    let mut answered = CALLS.map(|_| 0);
    for _ in 0..TURNS {
        for (call, answered) in CALLS.into_iter().zip(&mut answered) {
            *answered += turn(&callers, call, duration / TURNS).await?;
        }
    }
    for (call, answered) in CALLS.into_iter().zip(answered) {
        let per_second = float(answered) / duration.as_secs_f64();
        report.record(NAME, call.together(), "calls/s", per_second);
    }
    Ok(())
}

/// Has all callers make a call for a while, and returns how often they did.
pub(super) async fn turn(callers: &[Caller], call: Call, duration: Duration) -> Result<u64> {
    let end = Instant::now() + duration;
    let mut running = JoinSet::new();
    for caller in callers {
        running.spawn(caller.clone().call_until(call, end));
    }
    let mut answered = 0;
    while let Some(calls) = running.join_next().await {
        answered += calls??;
    }
    Ok(answered)
}
