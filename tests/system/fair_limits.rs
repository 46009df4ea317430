//! Callers that use as much as they can, and one that connects after them.

use std::net::Ipv4Addr;

use anyhow::Result;
use taskstats_proto::v1::Limit;
use taskstats_tests::agent::Agent;
use taskstats_tests::binaries;
use taskstats_tests::client::service;
use taskstats_tests::http2::{Outcome, Raw};
use taskstats_tests::machine_lock::MachineLock;
use taskstats_tests::peer::Peer;
use taskstats_tests::user::User;
use taskstats_tests::workload::Workload;

use crate::support::{get_pid, until_counted};

/// The exit code of `taskstatsctl` for an exceeded limit.
const BUSY: i32 = 4;
/// The first of several users.
const FIRST: u32 = 65001;
/// Calls that each caller attempts: the whole limit.
const CALLS: u32 = 8;
const GET_PID: &str = "/taskstats.v1.TaskstatsService/GetPid";

fn user(number: u32) -> User {
    User { uid: FIRST + number, gid: FIRST + number }
}

/// Watches until there is an exit to print, and then on; nothing where it is refused.
async fn watch(agent: &Agent, user: User) -> Result<Option<Peer>> {
    let url = agent.url();
    let arguments = ["--target", &url, "-o", "jsonl", "watch", "--last", "1"];
    let mut peer = user.start(&binaries::taskstatsctl()?, &arguments)?;
    if peer.line().await.is_ok() {
        return Ok(Some(peer));
    }
    assert_eq!(peer.end().await?, Some(BUSY));
    Ok(None)
}

/// One user after the other opens as many watchers as it can: each gets a part of the rest, and the
/// next is served as if it were alone.
#[tokio::test]
async fn greedy_watchers_leave_watchers_for_the_next() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let agent = Agent::start_with(["--max-watchers", "8", "--always-watch", "all"]).await?;
    agent.allow_all_users()?;
    Workload::run(&["exit", "0"]).await?;
    let (mut held, mut each) = (Vec::new(), Vec::new());
    for number in 0..3 {
        let before = held.len();
        while let Some(peer) = watch(&agent, user(number)).await? {
            held.push(peer);
        }
        each.push(held.len() - before);
    }
    assert_eq!(each, [4, 2, 1]);
    assert!(watch(&agent, user(3)).await?.is_some(), "nothing was left for a newcomer");
    until_counted(&mut service(&agent.url()).await?, Limit::Watchers, 3).await
}

/// Begins calls without requests from an address, and waits until the agent has read all of them.
async fn call(url: &str, address: Ipv4Addr) -> Result<Raw> {
    let mut raw = Raw::connected_from_with_preface(url, address).await?;
    for index in 0..CALLS {
        raw.begin(2 * index + 1, GET_PID).await?;
    }
    assert_eq!(raw.exchange(&[]).await?, Outcome::Read);
    Ok(raw)
}

/// The same holds for calls and addresses: while three of them use as much as they can, another
/// caller is served.
#[tokio::test]
async fn greedy_callers_leave_calls_for_the_next() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let arguments = ["--max-calls", "8", "--insecure", "--listen", "tcp://127.0.0.1:0"];
    let agent = Agent::start_with(arguments).await?;
    let url = agent.listening_on("tcp://")?;
    let mut client = service(&url).await?;
    let (mut held, mut refused) = (Vec::new(), 0);
    for (host, gets) in [(2, 4), (3, 2), (4, 1)] {
        held.push(call(&url, Ipv4Addr::new(127, 0, 0, host)).await?);
        refused += u64::from(CALLS) - gets;
        until_counted(&mut client, Limit::Calls, refused).await?;
    }
    get_pid(&mut client, std::process::id()).await?;
    until_counted(&mut client, Limit::Calls, refused).await
}
