//! Handshakes that are begun and not finished, without end.

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr};

use anyhow::{Context, Result};
use taskstats_proto::v1::Limit;
use taskstats_tests::agent::Agent;
use taskstats_tests::client::{Client, connect, connect_securely};
use taskstats_tests::deadline::within;
use taskstats_tests::handshake::{Handshake, Version};
use taskstats_tests::machine_lock::MachineLock;
use taskstats_tests::process;
use taskstats_tests::tls_fixture::{NAME, TlsFixture, node, until_tls};
use tokio::io::AsyncReadExt;
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinHandle;
use tonic::transport::Channel;

use crate::support::get_pid;

use super::limits_with;

/// The number of handshakes that the agent performs at the same time.
const AT_ONCE: u64 = 256;
/// Connections that the attacker holds: more than that.
const HELD: usize = 300;
/// Clients that connect meanwhile, one after the other.
const CLIENTS: usize = 10;
/// No handshake ends by its time limit, and none is refused because of its rate.
const PATIENCE: [&str; 4] = ["--handshake-timeout", "5m", "--max-handshake-rate", "0"];
/// Handshakes beyond a rate of one a second, however slow the machine is.
const MANY_FOR_ONE_SECOND: usize = 200;
/// Its address, which honest clients do not have.
const ATTACKER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

/// An attacker that holds as many connections as it can without sending anything, and replaces each
/// that is closed.
struct Flood {
    task: JoinHandle<Result<()>>,
}

impl Flood {
    fn start(url: &str) -> Result<Self> {
        let address = url.strip_prefix("tcp://").context("no tcp address")?.parse()?;
        Ok(Self { task: tokio::spawn(flood(address)) })
    }

    /// Ends it, which must not have ended by itself.
    async fn stop(self) -> Result<()> {
        self.task.abort();
        match self.task.await {
            Err(error) if error.is_cancelled() => Ok(()),
            ended => ended?.context("the flood ended by itself"),
        }
    }
}

async fn flood(address: SocketAddr) -> Result<()> {
    let mut held = VecDeque::new();
    loop {
        held.push_back(open(address).await?);
        if held.len() < HELD {
            continue;
        }
        let mut oldest: TcpStream = held.pop_front().context("nothing is held")?;
        // The agent closes it, in one transport or the other.
        let _closed = within("the oldest to be closed", oldest.read(&mut [0; 1])).await?;
    }
}

/// Waits until so many connections were closed that a client which waited before them would be
/// among those, if the agent always closed the oldest one.
async fn wait_for_displaced_connections(local: &Channel) -> Result<()> {
    let before = node(local).await?.tls.context("no TLS status")?.failed_handshakes;
    let after = before + AT_ONCE + u64::try_from(HELD)?;
    until_tls(local, |tls| tls.failed_handshakes >= after).await?;
    Ok(())
}

async fn open(address: SocketAddr) -> Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::new(ATTACKER.into(), 0))?;
    Ok(within("a connection", socket.connect(address)).await??)
}

/// A peer that opens connections without end only displaces its own: clients of other addresses,
/// also slow ones, complete their handshakes and are served.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_handshakes_does_not_keep_out_other_addresses() -> Result<()> {
    let _lock = MachineLock::exclusive()?;
    let fixture = TlsFixture::new()?;
    let limits = limits_with(&PATIENCE).map(str::to_owned);
    let agent = Agent::start_with(fixture.mutual_flags().into_iter().chain(limits)).await?;
    let (url, local) = (agent.listening_on("tcp://")?, connect(&agent.url()).await?);
    let (ca, client) = (fixture.authority.pem(), Some(&fixture.client));
    let honest = Handshake::new(Version::V1_3, ca, client)?;
    let before = process::descriptors(agent.pid()?)?;
    let flood = Flood::start(&url)?;
    until_tls(&local, |tls| tls.failed_handshakes > 0).await?;
    for _ in 0..CLIENTS {
        let slow = honest.reach(&url).await?;
        wait_for_displaced_connections(&local).await?;
        honest.first_byte_over(slow).await?;
        let channel = connect_securely(&url, ca, client, NAME).await?;
        get_pid(&mut Client::new(channel), std::process::id()).await?;
    }
    flood.stop().await?;
    let tls = until_tls(&local, |_| true).await?;
    assert_eq!(tls.handshakes, 2 * u64::try_from(CLIENTS)?, "{tls:?}");
    process::closes_descriptors(agent.pid()?, before + 1).await?;
    let log = agent.stderr()?;
    assert!(log.contains("its address had the most of them"), "{log}");
    assert!(!log.contains("panicked"), "{log}");
    Ok(())
}

/// An address that begins many handshakes is closed without one, and counted. Others are served.
#[tokio::test]
async fn handshakes_of_an_address_have_a_rate() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let fixture = TlsFixture::new()?;
    let rate = ["--max-handshake-rate", "1"].map(str::to_owned);
    let agent = Agent::start_with([fixture.mutual_flags(), rate.to_vec()].concat()).await?;
    let url = agent.listening_on("tcp://")?;
    let address: SocketAddr = url.strip_prefix("tcp://").context("no tcp address")?.parse()?;
    let mut begun = Vec::new();
    for _ in 0..MANY_FOR_ONE_SECOND {
        begun.push(open(address).await?);
    }
    let local = connect(&agent.url()).await?;
    until_tls(&local, |tls| tls.failed_handshakes > 0).await?;
    let counters = node(&local).await?.counters.context("no counters")?;
    let refused = counters.refused.iter().find(|it| it.limit() == Limit::HandshakeTime);
    assert!(refused.is_some_and(|it| it.count > 0), "{counters:?}");
    // Its address is not that of the attacker.
    let ca = fixture.authority.pem();
    connect_securely(&url, ca, Some(&fixture.client), NAME).await?;
    Ok(())
}
