//! The agent on a simulated kernel.

use anyhow::{Context, Result};
use taskstats_proto::v1::watch_exits_response::Kind;
use taskstats_proto::v1::{
    DelayAccounting, GetNodeRequest, GetPidRequest, LostStage, WatchExitsRequest,
};
use taskstats_tests::agent::{Agent, Launch};
use taskstats_tests::client::{connect, service};
use taskstats_tests::deadline::within;
use taskstats_tests::machine_lock::MachineLock;
use taskstats_tests::process::resident_kib;
use taskstats_tests::sequence_check::SequenceCheck;
use taskstats_tests::watch::Watch;
use tonic::Streaming;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use crate::support::{get_pid, identity};

/// Far more exits than the agent can process, on far more CPUs than a machine of two cores has.
const STORM: &str = "sim:cpus=512,rate=1000000,seed=1";
/// Exits of the storm that are received or lost before the agent is stopped.
const EXITS: u64 = 3_000_000;
/// Calls of each kind that complete meanwhile.
const CALLS: u64 = 200;
/// Each socket of the storm may hold twice this.
const RECEIVE_BUFFER_KIB: u64 = 128;
const CPUS: u64 = 512;
const HISTORY_KIB: u64 = 16 * 1024;
/// The agent without its history and its receive buffers, in a debug build: its code, its threads
/// and the messages in flight.
const REST_KIB: u64 = 64 * 1024;
/// Exit code of a usage error.
const USAGE: i32 = 2;
/// Starts a command without the capability that taskstats needs.
const WITHOUT_NET_ADMIN: [&str; 5] =
    ["setpriv", "--bounding-set", "-net_admin", "--inh-caps", "-net_admin"];

/// A simulated kernel needs no privileges: queries and exits are served, and labelled as simulated.
#[tokio::test]
async fn a_simulated_kernel_needs_no_privileges_and_is_labelled() -> Result<()> {
    let kernel = "sim:cpus=6,rate=2000,version=14,seed=7";
    let launch = Launch::new()?.listen_privately().arguments(["--kernel", kernel]);
    let agent = launch.wrapped(WITHOUT_NET_ADMIN).start().await?;
    let mut client = service(&agent.url()).await?;
    let node = client.get_node(GetNodeRequest {}).await?.into_inner();
    assert!(node.simulated_kernel.starts_with("sim:cpus=6,rate=2000,seed=7,version=14,"));
    assert_eq!((node.possible_cpus.as_str(), node.taskstats_version), ("0-5", 14));
    assert!(node.exits.context("no exits status")?.watchable);
    let init = get_pid(&mut client, 1).await?;
    assert_eq!(identity(&init)?.comm.as_deref(), Some("init"));
    let mut watch = Watch::everything(&connect(&agent.url()).await?).await?;
    while watch.seen().len() < 100 {
        watch.next().await?;
    }
    assert!(watch.seen().iter().all(|exit| exit.cpu < 6));
    assert!(agent.stderr()?.contains("simulating the kernel"), "{}", agent.stderr()?);
    Ok(())
}

/// Delay accounting that is turned on in a simulated kernel is not reported as the sysctl of the
/// machine.
#[tokio::test]
async fn delay_accounting_of_a_simulated_kernel_is_not_the_sysctl() -> Result<()> {
    let flags = ["--kernel", "sim:cpus=2,delayacct=off", "--enable-delay-accounting"];
    let agent = Agent::start_with(flags).await?;
    let node = service(&agent.url()).await?.get_node(GetNodeRequest {}).await?.into_inner();
    assert_eq!(node.delay_accounting(), DelayAccounting::On);
    let stderr = agent.stderr()?;
    let line = stderr.lines().find(|line| line.contains("enabled delay accounting"));
    let line = line.with_context(|| format!("no such line in {stderr}"))?;
    assert!(line.contains("simulated") && !line.contains("sysctl"), "{line}");
    Ok(())
}

/// A real kernel is not labelled.
#[tokio::test]
async fn a_real_kernel_is_not_labelled() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let agent = Agent::start().await?;
    let node = service(&agent.url()).await?.get_node(GetNodeRequest {}).await?.into_inner();
    assert_eq!(node.simulated_kernel, "");
    Ok(())
}

/// A simulation that is not possible is a usage error that names the possible values.
#[tokio::test]
async fn an_impossible_simulation_is_refused() -> Result<()> {
    for (kernel, output) in [
        ("hurd", "`hurd` is not a kernel"),
        ("sim:cpus=0", "cpus=0 is out of range; use 1 to 1024"),
        ("sim:cups=4", "`cups` is not a key"),
    ] {
        let ending =
            Launch::new()?.listen_privately().arguments(["--kernel", kernel]).run().await?;
        assert_eq!(ending.status.code(), Some(USAGE), "{}", ending.stderr);
        assert!(ending.stderr.contains(output), "{}", ending.stderr);
    }
    let directory = tempfile::tempdir()?;
    let state = directory.path().to_string_lossy().into_owned();
    let launch = Launch::new()?.listen_privately().arguments(["--kernel", "sim"]);
    let ending = launch.arguments(["--state-dir", &state]).run().await?;
    assert_eq!(ending.status.code(), Some(USAGE), "{}", ending.stderr);
    assert!(ending.stderr.contains("--state-dir cannot be used"), "{}", ending.stderr);
    Ok(())
}

/// At a million exits a second on 512 CPUs each exit is received or counted as lost until the agent
/// ends, memory stays below its bound, and calls complete meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storm_loses_nothing_silently_and_delays_no_call() -> Result<()> {
    let _lock = MachineLock::exclusive()?;
    let (buffer, history) = (format!("{RECEIVE_BUFFER_KIB}KiB"), format!("{HISTORY_KIB}KiB"));
    let mut agent = Agent::start_with(
        [
            ["--kernel", STORM],
            ["--receive-buffer", &buffer],
            ["--history-bytes", &history],
            ["--drain-timeout", "100s"],
        ]
        .concat(),
    )
    .await?;
    let mut storm = Storm::open(&agent.url()).await?;
    let calls = tokio::spawn(call(agent.url(), agent.pid()?));
    while storm.check.position() - storm.check.beginning() < EXITS || !calls.is_finished() {
        storm.next().await?;
    }
    let (completed, peak_kib) = calls.await??;
    let (stopped, read) = tokio::join!(agent.stop(), storm.read_to_the_end());
    read?;
    assert!(stopped?.success(), "{}", agent.stderr()?);

    let check = &storm.check;
    check.ensure_counts_complete()?;
    // Sent while the sockets were registered one after the other: the stream begins behind them.
    let before = check.beginning();
    let (received, kernel) = (check.received(), check.lost(LostStage::KernelSocket));
    let history = check.lost(LostStage::History);
    let sent = sent(&agent.stderr()?)?;
    println!(
        "sent {sent}: before {before}, received {received}, kernel {kernel}, history {history}"
    );
    println!("{completed} calls of each kind; at most {peak_kib} KiB resident");
    println!("{}", agent.stderr()?);
    assert_eq!(before + received + kernel + history, sent);
    assert!(received > 0 && kernel > 0, "the agent kept up with the storm");
    let bound = HISTORY_KIB + 2 * RECEIVE_BUFFER_KIB * CPUS + REST_KIB;
    assert!(peak_kib < bound, "{peak_kib} KiB, above {bound} KiB");
    Ok(())
}

/// A stream of all exits that keeps nothing but the counts.
struct Storm {
    stream: Streaming<taskstats_proto::v1::WatchExitsResponse>,
    check: SequenceCheck,
}

impl Storm {
    async fn open(url: &str) -> Result<Self> {
        let mut stream =
            service(url).await?.watch_exits(WatchExitsRequest::default()).await?.into_inner();
        let first = within("the first message", stream.message()).await??;
        let Some(Kind::Started(started)) = first.and_then(|message| message.kind) else {
            anyhow::bail!("the stream did not start");
        };
        Ok(Self { stream, check: SequenceCheck::open(&started)? })
    }

    /// Reads the next message; false at the end.
    async fn next(&mut self) -> Result<bool> {
        let message = match within("a message", self.stream.message()).await? {
            Ok(message) => message,
            Err(status) if status.code() == tonic::Code::Unavailable => None,
            Err(status) => return Err(status.into()),
        };
        let Some(kind) = message.and_then(|message| message.kind) else { return Ok(false) };
        self.check.apply(&kind)?;
        Ok(true)
    }

    async fn read_to_the_end(&mut self) -> Result<()> {
        while self.next().await? {}
        Ok(())
    }
}

/// Makes [`CALLS`] calls of each kind; returns their number, and the largest resident size seen, in
/// KiB.
async fn call(url: String, pid: u32) -> Result<(u64, u64)> {
    let mut client = service(&url).await?;
    let mut health = HealthClient::new(connect(&url).await?);
    let mut peak_kib = 0;
    for _ in 0..CALLS {
        let request = GetPidRequest { pid: 1, ..Default::default() };
        within("a response to GetPid", client.get_pid(request)).await??;
        within("a health check", health.check(HealthCheckRequest::default())).await??;
        within("the node", client.get_node(GetNodeRequest {})).await??;
        peak_kib = peak_kib.max(resident_kib(pid)?);
    }
    Ok((CALLS, peak_kib))
}

/// The number of messages that the simulated kernel logs at its end.
fn sent(stderr: &str) -> Result<u64> {
    let line = stderr.lines().find(|line| line.contains("stopped the simulated kernel"));
    let words = line.context("no line at the end of the simulated kernel")?.split(' ');
    let sent = words.filter_map(|word| word.strip_prefix("sent=")).next();
    Ok(sent.context("no sent= in the line")?.parse()?)
}
