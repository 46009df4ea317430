//! Descriptors that remain for the rest of the agent where connections need many.

use anyhow::{Context, Result, ensure};
use taskstats_proto::v1::{GetNodeRequest, Limit};
use taskstats_tests::agent::{Agent, Launch};
use taskstats_tests::binaries;
use taskstats_tests::client::{Client, connect, service};
use taskstats_tests::cpus;
use taskstats_tests::deadline::within;
use taskstats_tests::http2::{Kind, Raw};
use taskstats_tests::machine_lock::MachineLock;
use taskstats_tests::peer::Peer;
use taskstats_tests::process;
use taskstats_tests::tls_fixture::TlsFixture;
use taskstats_tests::watch::Watch;
use taskstats_tests::workload::Workload;
use tokio::task::JoinSet;

use crate::support::{count_refused, get_pid, get_threads, own_ids};

/// As `ulimit -n 64` would.
const FEW: [&str; 2] = ["prlimit", "--nofile=64"];
/// A soft limit, and a hard limit that the agent may raise it to.
const FEW_AT_FIRST: [&str; 2] = ["prlimit", "--nofile=64:4096"];
/// One caller may use the whole limit.
const ALL_FOR_ONE: [&str; 2] = ["--principal-share", "100"];
/// Connections beyond the number that is accepted.
const CROWD: usize = 100;
/// Concurrent slow calls, each of which needs a descriptor: as many as the agent has threads for,
/// and as many waiting ones.
const SLOW_CALLS: usize = 8;

/// The start of the agent's warning.
const WARNING: &str = "the limit of open files is ";

/// Returns the number after `prefix` in the agent's warning.
fn warned_of(agent: &Agent, prefix: &str) -> Result<usize> {
    let stderr = agent.stderr()?;
    let mut warning = stderr.lines().filter(|line| line.contains(WARNING));
    let line = warning.next().with_context(|| format!("no warning in {stderr}"))?;
    ensure!(warning.next().is_none(), "more than one warning: {stderr}");
    let (_, rest) = line.split_once(prefix).with_context(|| format!("no {prefix} in {line}"))?;
    let number = rest.split(|c: char| !c.is_ascii_digit()).next();
    Ok(number.context("no number")?.parse()?)
}

/// With few descriptors the agent accepts fewer connections than configured, and warns: the last
/// connections are refused, while all CPUs are watched and threads are read from `/proc`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_connections_leave_descriptors_for_the_rest() -> Result<()> {
    let _lock = MachineLock::exclusive()?;
    let launch = Launch::new()?.listen_privately().arguments(ALL_FOR_ONE);
    let agent = launch.wrapped(FEW).start().await?;
    assert_eq!(warned_of(&agent, WARNING)?, 64);
    let most = warned_of(&agent, "allowing ")?;
    assert!((4..64).contains(&most), "{most}");

    let channel = connect(&agent.url()).await?;
    let mut client = Client::new(channel.clone());
    get_pid(&mut client, std::process::id()).await?;
    let mut held = Vec::new();
    for _ in 1..most {
        let mut raw = Raw::connected_with_preface(&agent.url()).await?;
        raw.read_until(Kind::Settings).await?;
        held.push(raw);
    }
    assert_eq!(count_refused(&mut client, Limit::Connections).await?, 0);
    let mut crowd = Vec::new();
    for _ in 0..CROWD {
        crowd.push(Raw::connect(&agent.url()).await?);
    }
    let refused = async {
        let mut one_more = service(&agent.url()).await?;
        get_pid(&mut one_more, std::process::id()).await
    };
    assert!(within("a refusal", refused).await?.is_err(), "one more than {most} was served");
    let counted = count_refused(&mut client, Limit::Connections).await?;
    assert!(counted > u64::try_from(CROWD)?, "{counted} were refused");

    let mut watch = Watch::everything(&channel).await?;
    let node = client.get_node(GetNodeRequest {}).await?.into_inner();
    assert_eq!(node.counters.context("no counters")?.watched_cpus, cpus::possible_list()?);
    let mut calls = JoinSet::new();
    for _ in 0..SLOW_CALLS {
        let mut client = client.clone();
        calls.spawn(async move { get_threads(&mut client, std::process::id()).await });
    }
    for threads in calls.join_all().await {
        assert!(threads?.len() > 1, "{:?} has several threads", own_ids()?);
    }
    let ended = Workload::run(&["exit", "0"]).await?;
    watch.exit_of(ended.pid).await?;
    let stderr = agent.stderr()?;
    assert!(!stderr.contains("accepting a connection failed"), "{stderr}");
    drop((held, crowd));
    Ok(())
}

/// Handshakes are limited as well, and TLS is still served.
#[tokio::test]
async fn handshakes_leave_descriptors_for_the_rest() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let fixture = TlsFixture::new()?;
    let launch = Launch::new()?.listen_privately().arguments(fixture.flags());
    let agent = launch.wrapped(FEW).start().await?;
    let most = warned_of(&agent, " connections and ")?;
    assert!((1..64).contains(&most), "{most}");
    let url = agent.listening_on("tcp://")?;
    let mut silent = Vec::new();
    for _ in 0..CROWD {
        silent.push(Raw::connect(&url).await?);
    }
    fixture.failed_handshakes(&agent, u64::try_from(CROWD - most)?).await?;
    let channel = connect(&agent.url()).await?;
    drop(Watch::everything(&channel).await?);
    assert!(!get_threads(&mut Client::new(channel), std::process::id()).await?.is_empty());
    let stderr = agent.stderr()?;
    assert!(!stderr.contains("accepting a connection failed"), "{stderr}");
    Ok(())
}

/// The agent raises a soft limit before it drops the privilege to do so.
#[tokio::test]
async fn the_descriptor_limit_is_raised() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let agent = Launch::new()?.listen_privately().wrapped(FEW_AT_FIRST).start().await?;
    let limit = process::descriptor_limit(agent.pid()?)?;
    assert_eq!(limit, 4096);
    assert!(!agent.stderr()?.contains(WARNING), "{}", agent.stderr()?);
    Ok(())
}

/// The doctor reports it beforehand, based on the limit that the agent could raise.
#[tokio::test]
async fn the_doctor_counts_descriptors() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let program = binaries::taskstatsd()?.display().to_string();
    for (wrapper, sign, output) in [
        (FEW_AT_FIRST, '✓', "the limit of open files is 4096"),
        (FEW, '!', "64 for connections (--max-connections)"),
    ] {
        let [prlimit, limit] = wrapper;
        let response = Peer::run(prlimit.as_ref(), [limit, &program, "doctor"]).await?;
        let line = response.stdout.lines().find(|line| line.contains("descriptors"));
        let line = line.with_context(|| format!("no line on descriptors in {response:?}"))?;
        assert!(line.starts_with(sign) && line.contains(output), "{line}");
        let has_fix = response.stdout.contains("LimitNOFILE=");
        assert_eq!(has_fix, sign == '!', "{}", response.stdout);
    }
    Ok(())
}
