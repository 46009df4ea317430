//! The agent's end, with peers that are stuck in every way there is.

use anyhow::{Context, Result, bail};
use bytes::BytesMut;
use nix::sys::signal::Signal;
use taskstats_proto::v1::watch_exits_response::Kind as Message;
use taskstats_tests::agent::Agent;
use taskstats_tests::client::{connect, connect_narrowly};
use taskstats_tests::deadline::within;
use taskstats_tests::http2::{Flags, Frame, Kind, PREFACE, Raw};
use taskstats_tests::machine_lock::MachineLock;
use taskstats_tests::watch::Watch;
use taskstats_tests::workload::Workload;
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

/// Short, so that the test does not wait for long.
const DRAIN: [&str; 2] = ["--drain-timeout", "1s"];
/// The exit code of an agent that cut something off.
const CUT_OFF: i32 = 1;
/// More bytes of events than the smallest HTTP/2 window and the socket's buffers hold.
const UNREAD_EXITS: &str = "10000";
/// `SETTINGS_INITIAL_WINDOW_SIZE` of 0.
const NO_WINDOW: &[u8] = &[0, 4, 0, 0, 0, 0];
const GET_PID: &str = "/taskstats.v1.TaskstatsService/GetPid";

/// Ways to be stuck without a library.
async fn stuck_peers(url: &str) -> Result<Vec<Raw>> {
    let mut peers = Vec::new();
    for beginning in [&[], &PREFACE[..7], PREFACE] {
        let mut raw = Raw::connect(url).await?;
        raw.write(beginning).await?;
        peers.push(raw);
    }
    // An upload that stops in the middle of its first message.
    let mut upload = Raw::connected_with_preface(url).await?;
    upload.begin(1, GET_PID).await?;
    let mut half = BytesMut::new();
    Frame::new(Kind::Data, 1, &[0, 0, 0, 0, 2, 8]).put(&mut half);
    upload.exchange(&half).await?;
    peers.push(upload);
    // A response that is not read.
    let mut unread = Raw::connected_with_settings(url, NO_WINDOW).await?;
    unread.begin(1, "/taskstats.v1.TaskstatsService/GetNode").await?;
    let mut request = BytesMut::new();
    let message = Frame::new(Kind::Data, 1, &[0; 5]);
    message.with(Flags::END_STREAM).put(&mut request);
    unread.exchange(&request).await?;
    peers.push(unread);
    Ok(peers)
}

/// With all of these peers the agent ends at its deadline, with an exit code for an incomplete
/// drain. A client that reads gets the health first, then its last cursor.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stuck_peers_do_not_delay_the_agent_beyond_its_deadline() -> Result<()> {
    let _lock = MachineLock::exclusive()?;
    let arguments = [&DRAIN[..], &["--insecure", "--listen", "tcp://127.0.0.1:0"]].concat();
    let mut agent = Agent::start_with(arguments).await?;
    let mut peers = Vec::new();
    for scheme in ["unix://", "tcp://"] {
        peers.extend(stuck_peers(&agent.listening_on(scheme)?).await?);
    }
    let stalled = Watch::everything(&connect_narrowly(&agent.url()).await?).await?;
    let mut watch = Watch::everything(&connect(&agent.url()).await?).await?;
    let churned = Workload::run(&["churn-threads", UNREAD_EXITS]).await?;
    watch.exit_of(churned.pid).await?;
    let mut health = HealthClient::new(connect(&agent.url()).await?);
    let mut health = health.watch(HealthCheckRequest::default()).await?.into_inner();
    let first = within("the health", health.message()).await??.context("no health")?;
    assert_eq!(first.status(), ServingStatus::Serving);

    agent.signal(Signal::SIGTERM)?;
    let last = within("the health", health.message()).await??.context("no health")?;
    assert_eq!(last.status(), ServingStatus::NotServing);
    let mut cursor = None;
    while let Some(message) = watch.next().await? {
        cursor = match message {
            Message::Heartbeat(heartbeat) => heartbeat.cursor,
            Message::Workloads(_) => cursor,
            Message::Events(_) | Message::Lost(_) | Message::Started(_) => None,
        };
    }
    let Some(cursor) = cursor else { bail!("no last cursor") };
    assert_eq!(cursor.sequence, watch.sequence_check()?.position());
    assert_eq!(watch.end().await?.code(), Code::Unavailable);
    assert_eq!(agent.ended().await?.code(), Some(CUT_OFF), "{}", agent.stderr()?);
    let output = agent.stderr()?;
    assert!(output.contains("aborting") && output.contains("streams=1"), "{output}");
    assert!(!agent.socket().exists(), "the socket was left behind");
    drop((peers, stalled));
    Ok(())
}
