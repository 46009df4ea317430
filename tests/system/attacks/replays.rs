//! Watchers that replay the whole history, again and again.

use anyhow::{Context, Result};
use taskstats_proto::v1::WatchExitsRequest;
use taskstats_tests::agent::Agent;
use taskstats_tests::caller::{Caller, Question, Served};
use taskstats_tests::client::{Client, connect};
use taskstats_tests::deadline::within;
use taskstats_tests::machine_lock::MachineLock;
use taskstats_tests::tls_fixture::node;
use tokio::task::JoinSet;
use tonic::transport::Channel;

use super::{HELD, INSECURE, WARM_UP};

/// Watchers of the attacker, each on a connection of its own.
const WATCHERS: usize = 128;
/// Exits in the history when the attack begins: some seconds of the simulated machine.
const EXITS: u64 = 50_000;
/// Messages that a watcher reads before it begins again.
const MESSAGES: usize = 20;
/// A machine on which many tasks exit, and an agent that removes fields for callers without a role.
const AGENT: [&str; 15] = [
    "--kernel",
    "sim:cpus=2,rate=15000,seed=1",
    "--always-watch",
    "all",
    "--redact",
    "comm,io",
    "--max-watchers",
    "512",
    "--max-calls",
    "512",
    "--max-connections",
    "512",
    "--listen",
    "tcp://127.0.0.1:0",
    INSECURE,
];

/// Replays the history from its begin, until it is aborted.
async fn replay(channel: Channel) -> Result<()> {
    let mut client = Client::new(channel);
    loop {
        let request = WatchExitsRequest { replay_last: u32::MAX, ..Default::default() };
        let mut stream = client.watch_exits(request).await?.into_inner();
        for _ in 0..MESSAGES {
            within("a message", stream.message()).await??.context("the stream ended")?;
        }
    }
}

/// Calls an agent for a while, and returns how long the calls lasted.
async fn served(channel: Channel, calls: u64) -> Result<Served> {
    let mut caller = Caller::asking(Question::Health, channel).await?;
    caller.served(calls).await?;
    caller.stop().await
}

/// Watchers that replay redacted exits leave others served: fields are cut out of encoded exits, and streams
/// that are behind have turns.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redacted_replays_leave_others_served() -> Result<()> {
    let _lock = MachineLock::exclusive()?;
    let agent = Agent::start_with(AGENT).await?;
    let local = connect(&agent.url()).await?;
    let filled = async {
        while node(&local).await?.history.context("no history")?.last_sequence < EXITS {}
        anyhow::Ok(())
    };
    within("a history", filled).await??;
    let other = connect(&agent.listening_on("tcp://")?).await?;
    let before = served(other.clone(), WARM_UP).await?;
    let mut watchers = JoinSet::new();
    for _ in 0..WATCHERS {
        watchers.spawn(replay(connect(&agent.url()).await?));
    }
    let during = served(other, HELD).await?;
    println!("{WATCHERS} redacted replays: {during}; before: {before}");
    if let Some(ended) = watchers.try_join_next() {
        ended?.context("a watcher ended by itself")?;
    }
    Ok(())
}
