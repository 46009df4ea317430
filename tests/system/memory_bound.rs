//! The memory bound that the agent logs, with callers that use all limits.

use anyhow::{Context, Result};
use bytes::{BufMut, BytesMut};
use clap::Parser;
use prost::Message;
use taskstats_proto::v1::{BatchGetRequest, GetNodeRequest, GetTgidRequest};
use taskstats_tests::agent::{Agent, Launch};
use taskstats_tests::caller::Caller;
use taskstats_tests::cgroup::MemoryGroup;
use taskstats_tests::client::{connect, service};
use taskstats_tests::deadline::within;
use taskstats_tests::directory;
use taskstats_tests::follower::Follower;
use taskstats_tests::http2::{Flags, Frame, Kind, Raw};
use taskstats_tests::machine_lock::MachineLock;
use taskstats_tests::process::Vitals;
use taskstats_tests::selection::Selection;
use taskstats_tests::workload::Workload;
use taskstatsd::capacity::MemoryBound;
use taskstatsd::config::{Args, Config};
use taskstatsd::taskstats::{Kernel, LinuxKernel};
use tempfile::TempDir;
use tonic::Code;

use crate::followers;
use crate::support::{get_pid, get_threads, refused};

/// A small agent without a reserve for later callers, so that the whole bound can be used.
const SMALL: [&str; 17] = [
    "--insecure",
    "--listen",
    "tcp://127.0.0.1:0",
    "--history-bytes",
    "2MiB",
    "--max-connections",
    "32",
    "--max-streams",
    "32",
    "--max-watchers",
    "16",
    "--max-calls",
    "32",
    "--max-slow-calls",
    "16",
    "--principal-share",
    "100",
];
/// Connections of root through the unix socket, and of another address by TCP: half, and all but
/// those of the well-behaved client.
const CONNECTIONS: [usize; 2] = [16, 12];
/// The number of them that watch.
const WATCHERS: usize = 7;
/// Streams of a connection whose responses are not read: all.
const STREAMS: u32 = 32;
/// Exits, more than the history and all buffers of watchers hold.
const EXITS: usize = 60_000;
/// The most tasks of one request.
const MOST_TASKS: usize = 1000;
/// More than count as one slow call.
const MANY_THREADS: &str = "1500";
/// Responses to the well-behaved client.
const ANSWERS: u64 = 200;
/// `SETTINGS_INITIAL_WINDOW_SIZE` of 0, and the largest one.
const NO_WINDOW: &[u8] = &[0, 4, 0, 0, 0, 0];
const LARGEST_WINDOW: &[u8] = &[0, 4, 0x7f, 0xff, 0xff, 0xff];
/// The increment that opens the window of a connection as far.
const MORE: [u8; 4] = [0x7f, 0xff, 0, 0];

/// The bound that the agent computes, in bytes: its filters have memory for each possible CPU.
fn ceiling() -> Result<u64> {
    let args = Args::try_parse_from(["taskstatsd"].iter().chain(&SMALL))?;
    let config = Config::try_from(args)?;
    let cpus = LinuxKernel::new(4096)?.possible_cpus().len();
    Ok(MemoryBound::of(&config, cpus, &config.listen).total())
}

/// A message with its prefix, which ends the stream's request.
fn put_request(bytes: &mut BytesMut, stream: u32, message: &[u8]) -> Result<()> {
    let mut body = BytesMut::from(&[0][..]);
    body.put_u32(u32::try_from(message.len())?);
    body.put_slice(message);
    Frame::new(Kind::Data, stream, &body).with(Flags::END_STREAM).put(bytes);
    Ok(())
}

/// Opens connections: some with a watcher that reads nothing and has the largest window, the others
/// with as many large responses as there are streams, all without a window.
async fn open_peers(url: &str, connections: usize) -> Result<Vec<Raw>> {
    let mut peers = Vec::new();
    for _ in 0..WATCHERS {
        let mut raw = Raw::connected_with_settings(url, LARGEST_WINDOW).await?;
        let mut bytes = BytesMut::new();
        Frame::new(Kind::WindowUpdate, 0, &MORE).put(&mut bytes);
        raw.write(&bytes).await?;
        raw.begin(1, "/taskstats.v1.TaskstatsService/WatchExits").await?;
        bytes.clear();
        put_request(&mut bytes, 1, &[])?;
        raw.exchange(&bytes).await?;
        peers.push(raw);
    }
    let batch =
        BatchGetRequest { pids: vec![1; MOST_TASKS], tgids: Vec::new(), ..Default::default() }
            .encode_to_vec();
    for _ in WATCHERS..connections {
        let mut raw = Raw::connected_with_settings(url, NO_WINDOW).await?;
        for stream in (0..STREAMS).map(|index| 2 * index + 1) {
            raw.begin(stream, "/taskstats.v1.TaskstatsService/BatchGet").await?;
            let mut bytes = BytesMut::new();
            put_request(&mut bytes, stream, &batch)?;
            // Each is read before the next is sent.
            raw.exchange(&bytes).await?;
        }
        peers.push(raw);
    }
    Ok(peers)
}

async fn start(group: &MemoryGroup, socket: &str) -> Result<Agent> {
    let launch = Launch::new()?.arguments(["--listen", socket]).arguments(SMALL);
    launch.wrapped(group.wrapper()).start().await
}

/// The address of a socket that one agent after the other listens on.
fn socket_in(directory: &TempDir) -> String {
    format!("unix://{}", directory.path().join("agent.sock").display())
}

/// All peers use what they get, while the history is overwritten repeatedly.
async fn use_up(agent: &Agent, reference: &mut Follower) -> Result<Vec<Raw>> {
    let mut peers = Vec::new();
    for (scheme, connections) in ["unix://", "tcp://"].into_iter().zip(CONNECTIONS) {
        peers.extend(open_peers(&agent.listening_on(scheme)?, connections).await?);
    }
    followers::churn_watched(reference, EXITS).await?;
    Ok(peers)
}

/// A control group limited to the bound loses no process: a well-behaved client is served
/// throughout, and the resources are free again when the others disconnect.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_logged_memory_bound_is_enough() -> Result<()> {
    let _lock = MachineLock::exclusive()?;
    let ceiling = ceiling()?;
    let group = MemoryGroup::new("ceiling", ceiling)?;
    let directory = directory::readable_to_all()?;
    let mut agent = start(&group, &socket_in(&directory)).await?;
    let log = agent.stderr()?;
    assert!(log.contains("computed memory bound"), "{log}");
    assert!(!log.contains("is below the memory bound"), "{log}");
    let url = agent.listening_on("tcp://")?;
    let mut caller = Caller::start(&url).await?;
    let mut reference = Follower::open(&connect(&url).await?, Selection::EVERYTHING).await?;

    let peers = use_up(&agent, &mut reference).await?;
    caller.served(ANSWERS).await?;
    // A GetNode call is slow as well, and beyond the limit.
    let refusal = refused(service(&url).await?.get_node(GetNodeRequest {}).await)?;
    assert!(refusal.message.contains("--max-slow-calls"), "{refusal:?}");
    let vitals = Vitals::of(agent.pid()?)?;
    println!("used up: {vitals}; the group held {} of {ceiling} bytes", group.peak()?);
    assert_eq!(group.kills()?, 0);
    // The rest is not used: streams of other connections, and kernel memory of TCP that a control
    // group does not count.
    assert!(vitals.peak_kib * 1024 > ceiling / 8, "the bound is far above what is used");

    drop(peers);
    // The memory is free for other callers. The allocator keeps some of it.
    within("room for slow calls", async {
        while service(&url).await?.get_node(GetNodeRequest {}).await.is_err() {}
        anyhow::Ok(())
    })
    .await??;
    let detached = Vitals::of(agent.pid()?)?.resident_kib;
    println!("left: {detached} KiB");
    assert!(detached * 1024 < ceiling / 2, "{detached} KiB are kept");
    caller.stop().await?;
    assert!(agent.stop().await?.success());
    Ok(())
}

/// With less memory the agent warns at the start. Whatever the same callers do to it, the next
/// agent starts and serves.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_next_agent_starts_after_an_out_of_memory_kill() -> Result<()> {
    let _lock = MachineLock::exclusive()?;
    let limit = ceiling()? / 6;
    let group = MemoryGroup::new("below", limit)?;
    let directory = directory::readable_to_all()?;
    let socket = socket_in(&directory);
    let mut agent = start(&group, &socket).await?;
    let log = agent.stderr()?;
    assert!(log.contains("is below the memory bound"), "{log}");
    let url = agent.listening_on("tcp://")?;
    let mut reference = Follower::open(&connect(&url).await?, Selection::EVERYTHING).await?;
    // The agent may end in the middle of this.
    let used_up = use_up(&agent, &mut reference).await;
    println!("killed {} times, callers: {:?}", group.kills()?, used_up.err());
    if group.kills()? == 0 {
        agent.signal(nix::sys::signal::Signal::SIGKILL)?;
    }
    agent.ended().await.context("the agent lives on")?;

    let next = Launch::new()?.arguments(["--listen", &socket]).start().await?;
    get_pid(&mut service(&socket).await?, std::process::id()).await?;
    assert!(!next.stderr()?.contains("panicked"), "{}", next.stderr()?);
    Ok(())
}

/// A response of many threads counts as more than one slow call, so that the bound for slow calls
/// holds.
#[tokio::test]
async fn a_response_of_many_threads_counts_more() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let workload = Workload::waiting(&["threads", MANY_THREADS]).await?;
    for (slow_calls, is_enough) in [("1", false), ("2", true)] {
        let limits = ["--max-slow-calls", slow_calls, "--principal-share", "100"];
        let agent = Agent::start_with(limits).await?;
        let mut client = service(&agent.url()).await?;
        let request =
            GetTgidRequest { tgid: workload.pid(), include_threads: true, ..Default::default() };
        let response = client.get_tgid(request).await;
        if is_enough {
            assert!(response?.into_inner().threads.len() > 1024);
        } else {
            let refusal = refused(response)?;
            // A retry would not help.
            assert_eq!(refusal.code, Code::FailedPrecondition, "{refusal:?}");
            assert!(refusal.message.contains("1024"), "{refusal:?}");
        }
        // The limit is free again.
        get_threads(&mut client, std::process::id()).await?;
    }
    Ok(())
}
