//! A thousand watchers that connect and disconnect.

use anyhow::{Context, Result};
use taskstats_proto::v1::Scope;
use taskstats_proto::v1::{GetNodeRequest, WatchExitsRequest};
use taskstats_tests::agent::Agent;
use taskstats_tests::client::{Client, connect, service};
use taskstats_tests::deadline::within;
use taskstats_tests::kernel::port_ids_of;
use taskstats_tests::machine_lock::MachineLock;
use taskstats_tests::process;
use taskstats_tests::random::Random;
use taskstats_tests::watch::Watch;
use tonic::transport::Channel;

/// Watchers in all.
const CYCLES: usize = 1000;
/// After this number the agent has allocated all the memory that it needs for this.
const WARM_UP: usize = 200;
/// Watchers at once, at most.
const CROWD: usize = 6;
/// The registrations are checked after this many cycles.
const LOOK: usize = 10;
/// The allocator keeps some pages more or less. A leak of 4 KiB a watcher, which is less than a
/// connection has, would be above it.
const SLACK_KIB: u64 = 3 * 1024;
/// Full at once, so that it does not look like a leak.
const HISTORY: &str = "64KiB";
/// Any seed does.
const SEED: u64 = 20_261_122;
/// Overlapping masks, and the CPUs in them as a set of bits.
const MASKS: [(&str, u32); 6] =
    [("0", 0b01), ("1", 0b10), ("0-1", 0b11), ("1,0", 0b11), ("0-1:1/2", 0b01), ("N", 0b10)];

/// A watcher with a separate connection.
struct Visitor {
    cpus: u32,
    _watch: Watch,
    _channel: Channel,
}

/// The resources of the agent without watchers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Holding {
    descriptors: usize,
    sockets: usize,
}

/// The registrations follow the watchers, and nothing of the watchers stays.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watchers_leave_nothing_behind() -> Result<()> {
    let _lock = MachineLock::exclusive()?;
    let agent = Agent::start_with(["--grace-period", "0s", "--history-bytes", HISTORY]).await?;
    let mut client = service(&agent.url()).await?;
    let before = holding(&agent, &mut client).await?;
    let mut random = Random::new(SEED);
    cycle(&agent, &mut client, &mut random, WARM_UP, before.sockets).await?;
    let warm = process::resident_kib(agent.pid()?)?;
    cycle(&agent, &mut client, &mut random, CYCLES - WARM_UP, before.sockets).await?;
    within("the agent to hold what it held", async {
        while holding(&agent, &mut client).await? != before {}
        anyhow::Ok(())
    })
    .await??;
    let after = process::resident_kib(agent.pid()?)?;
    assert!(after <= warm + SLACK_KIB, "{warm} KiB became {after} KiB");
    Ok(())
}

/// Connects so many watchers in a random order with their disconnections; all have disconnected at
/// the end.
async fn cycle(
    agent: &Agent,
    client: &mut Client,
    random: &mut Random,
    count: usize,
    idle_sockets: usize,
) -> Result<()> {
    let mut visitors: Vec<Visitor> = Vec::new();
    let (mut come, mut turns) = (0, 0);
    while come < count || !visitors.is_empty() {
        let may_come = come < count && visitors.len() < CROWD;
        if may_come && (visitors.is_empty() || random.below(2) == 0) {
            visitors.push(visit(agent, random).await?);
            come += 1;
        } else {
            visitors.swap_remove(random.below(visitors.len()));
        }
        turns += 1;
        if turns % LOOK == 0 || visitors.is_empty() {
            expect(agent, client, &visitors, idle_sockets).await?;
        }
    }
    Ok(())
}

async fn visit(agent: &Agent, random: &mut Random) -> Result<Visitor> {
    let (mask, cpus) = MASKS[random.below(MASKS.len())];
    let scopes = [Scope::AllTasks, Scope::Processes, Scope::Threads];
    let scope = scopes[random.below(scopes.len())];
    let request = WatchExitsRequest {
        cpumask: mask.to_owned(),
        scope: scope.into(),
        ..WatchExitsRequest::default()
    };
    let channel = connect(&agent.url()).await?;
    Ok(Visitor { cpus, _watch: Watch::open(&channel, request).await?, _channel: channel })
}

/// Waits until the agent counts these watchers and listens to their CPUs and to no others.
async fn expect(
    agent: &Agent,
    client: &mut Client,
    visitors: &[Visitor],
    idle_sockets: usize,
) -> Result<()> {
    let union = visitors.iter().fold(0, |union, visitor| union | visitor.cpus);
    let list = match union {
        0b00 => "",
        0b01 => "0",
        0b10 => "1",
        _ => "0-1",
    };
    let sockets = idle_sockets + usize::try_from(union.count_ones())?;
    let expected = (u32::try_from(visitors.len())?, list.to_owned(), sockets);
    let mut found = None;
    let arrived = within("the registrations to follow", async {
        while found.as_ref() != Some(&expected) {
            found = Some(registrations(agent, client).await?);
        }
        anyhow::Ok(())
    });
    arrived.await.with_context(|| format!("wanted {expected:?}"))?
}

async fn registrations(agent: &Agent, client: &mut Client) -> Result<(u32, String, usize)> {
    let node = client.get_node(GetNodeRequest {}).await?.into_inner();
    let counters = node.counters.context("no counters")?;
    Ok((counters.watchers, counters.watched_cpus, port_ids_of(agent.pid()?)?.len()))
}

async fn holding(agent: &Agent, client: &mut Client) -> Result<Holding> {
    let (_, _, sockets) = registrations(agent, client).await?;
    Ok(Holding { descriptors: process::descriptors(agent.pid()?)?, sockets })
}
