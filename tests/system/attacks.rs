//! Peers that attack the agent over HTTP/2. Each attacker uses a bounded amount of memory, leaves
//! nothing behind, and does not disturb other clients.

mod connections;
mod floods;
mod garbage;
mod handshakes;
mod replays;
mod uploads;

pub(crate) use self::uploads::status_of;

use anyhow::{Context, Result, ensure};
use taskstats_proto::v1::{GetNodeResponse, Limit};
use taskstats_tests::agent::Agent;
use taskstats_tests::caller::{Caller, Question, Served};
use taskstats_tests::certificates::{Pair, Wanted};
use taskstats_tests::client::{connect, connect_securely};
use taskstats_tests::handshake::{Handshake, Version};
use taskstats_tests::http2::Transport;
use taskstats_tests::process::{self, Vitals};
use taskstats_tests::tls_fixture::{self, NAME, TlsFixture};
use tonic::transport::Channel;

/// Responses after which the agent has allocated the memory that ordinary calls need.
const WARM_UP: u64 = 200;
/// Responses to each well-behaved client while attackers only hold their connections.
const HELD: u64 = 200;
/// The number of times that an attack is made on one agent. A leak in each of them would add up to
/// more than is allowed; the allocator keeps some freed memory and reuses it for the next attack.
const ROUNDS: usize = 2;
/// Threads for slow calls, which stay for some seconds after the last one.
const SLOW_CALL_THREADS: usize = 4;

/// Path of the cheapest call.
const GET_PID: &str = "/taskstats.v1.TaskstatsService/GetPid";
/// Path of the stream, which costs the agent most to open.
const WATCH_EXITS: &str = "/taskstats.v1.TaskstatsService/WatchExits";

/// The name of well-behaved clients where clients have certificates; attackers have another one.
const BYSTANDER: &str = "bystander.example";
/// The flag without which an agent serves no TCP without TLS.
const INSECURE: &str = "--insecure";
/// The limit of the attacked agent: far above the default, so that the attackers reach more of it.
const LIMITS: [[&str; 2]; 1] = [["--max-connections", "1024"]];

/// Returns the limits of an agent: those that a test sets, and [`LIMITS`] for the rest.
fn limits_with<'a>(limits: &'a [&'a str]) -> impl Iterator<Item = &'a str> {
    let rest = LIMITS.into_iter().filter(|[flag, _]| !limits.contains(flag));
    limits.iter().copied().chain(rest.flatten())
}

/// The transport of the port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Port {
    /// Plain TCP: callers are distinguished by their addresses.
    Plain,
    /// With TLS both transports: attackers show a certificate that is good, and have a name.
    Mutual,
}

/// A sandboxed agent with a unix socket and a port. Attackers connect to both, as root and from
/// another address; a well-behaved client is neither.
struct Siege {
    agent: Agent,
    transports: [Transport; 2],
    bystander: Bystander,
    caller: Option<Caller>,
    before: Vitals,
    served_before: Served,
    /// CPU time when the attack began.
    ticks: u64,
}

/// The port's address for a well-behaved client.
struct Bystander {
    url: String,
    /// The CA and the client certificate, with TLS.
    certificates: Option<(String, Pair)>,
}

/// The agent's resources after the attackers have disconnected.
struct Aftermath {
    served_before: Served,
    served: Served,
    before: Vitals,
    after: Vitals,
    /// CPU time of the attack.
    ticks: u64,
}

impl Bystander {
    async fn connect(&self) -> Result<Channel> {
        match &self.certificates {
            None => connect(&self.url).await,
            Some((ca, pair)) => connect_securely(&self.url, ca, Some(pair), NAME).await,
        }
    }

    async fn node(&self) -> Result<GetNodeResponse> {
        tls_fixture::node(&self.connect().await?).await
    }
}

impl Siege {
    async fn begin(port: Port, limits: &[&str]) -> Result<Self> {
        let fixture = TlsFixture::new()?;
        let flags = match port {
            Port::Plain => [INSECURE, "--listen", "tcp://127.0.0.1:0"].map(str::to_owned).to_vec(),
            Port::Mutual => {
                let unlimited = ["--max-handshake-rate", "0"].map(str::to_owned);
                [fixture.mutual_flags(), unlimited.to_vec()].concat()
            }
        };
        let limits = limits_with(limits).map(str::to_owned);
        let agent = Agent::start_with(flags.into_iter().chain(limits)).await?;
        let url = agent.listening_on("tcp://")?;
        let (transport, certificates) = match port {
            Port::Plain => (Transport::Plain(url.clone()), None),
            Port::Mutual => {
                let ca = fixture.authority.pem().to_owned();
                let handshake = Handshake::new(Version::V1_3, &ca, Some(&fixture.client))?;
                let pair = fixture.authority.sign(&Wanted::for_client(BYSTANDER))?;
                (Transport::Secure(url.clone(), handshake), Some((ca, pair)))
            }
        };
        let bystander = Bystander { url, certificates };
        let node = bystander.node().await?;
        // The agent was started by root and has dropped its privileges.
        ensure!(node.sandbox.is_some_and(|it| it.seccomp && it.no_new_privs), "no sandbox");
        let mut served_before = None;
        for channel in [connect(&agent.url()).await?, bystander.connect().await?] {
            // The agent opens the files that it reads and keeps them open.
            tls_fixture::node(&channel).await?;
            let mut caller = Caller::asking(Question::Account, channel).await?;
            caller.served(WARM_UP).await?;
            served_before = Some(caller.stop().await?);
        }
        process::becomes_idle(agent.pid()?).await?;
        let before = Vitals::begin(agent.pid()?)?;
        let transports = [Transport::Plain(agent.url()), transport];
        let served_before = served_before.context("no client calls")?;
        let ticks = before.ticks;
        Ok(Self { agent, transports, bystander, caller: None, before, served_before, ticks })
    }

    /// Starts the well-behaved client.
    async fn call(&mut self) -> Result<()> {
        let channel = self.bystander.connect().await?;
        self.ticks = Vitals::of(self.agent.pid()?)?.ticks;
        self.caller = Some(Caller::asking(Question::Account, channel).await?);
        Ok(())
    }

    /// Returns the port's transport for attackers.
    fn port(&self) -> &Transport {
        let [_, port] = &self.transports;
        port
    }

    /// Waits for so many responses to the client.
    async fn served(&mut self, calls: u64) -> Result<()> {
        self.caller.as_mut().context("no client calls")?.served(calls).await
    }

    /// Waits for responses to the client while the attackers keep their connections.
    async fn hold(&mut self) -> Result<()> {
        self.served(HELD).await
    }

    /// Returns how often callers exceeded a limit.
    async fn refused(&self, limit: Limit) -> Result<u64> {
        let counters = self.bystander.node().await?.counters.context("no counters")?;
        let refused = counters.refused.iter().find(|refused| refused.limit() == limit);
        Ok(refused.map_or(0, |refused| refused.count))
    }

    /// Checks that every call succeeded, that the agent is idle although `attackers` are still
    /// connected, and that it releases their descriptors when they disconnect.
    async fn end<T>(&mut self, attackers: T) -> Result<Aftermath> {
        let served = self.caller.take().context("no client calls")?.stop().await?;
        let pid = self.agent.pid()?;
        process::becomes_idle(pid).await?;
        drop(attackers);
        // Slow calls that run at the same time use separate netlink sockets, which the agent keeps.
        process::closes_descriptors(pid, self.before.descriptors + SLOW_CALL_THREADS).await?;
        let after = Vitals::of(pid)?;
        let stderr = self.agent.stderr()?;
        assert!(!stderr.contains("panicked"), "{stderr}");
        let ticks = after.ticks - self.ticks;
        let (before, served_before) = (self.before, self.served_before);
        Ok(Aftermath { served_before, served, before, after, ticks })
    }
}

impl Aftermath {
    fn tell(&self, attack: &str) {
        let Self { served_before, served, before, after, ticks } = self;
        println!("{attack}: {ticks}0 ms of CPU");
        println!("  {served}; before: {served_before}");
        println!("  {after}; before: {before}");
    }

    /// The agent never held more than so much more than before.
    fn assert_bounded(&self, allowed_kib: u64) {
        let Self { before, after, .. } = self;
        let most = before.resident_kib + allowed_kib;
        assert!(after.peak_kib <= most, "{} KiB at the peak, allowed {most}", after.peak_kib);
        let threads = before.threads + SLOW_CALL_THREADS;
        assert!(after.threads <= threads, "{before} became {after}");
    }
}

/// Repeats an attack on one agent, and checks after each that the peak of the memory is no higher
/// than one attack is allowed.
async fn assert_bounded(
    attack: &str,
    once: impl AsyncFnMut(&mut Siege) -> Result<Aftermath>,
    allowed_kib: u64,
) -> Result<()> {
    let siege = Siege::begin(Port::Mutual, &[]).await?;
    assert_bounded_in(siege, ROUNDS, attack, once, allowed_kib).await
}

/// Does so with an agent that there is.
async fn assert_bounded_in(
    mut siege: Siege,
    rounds: usize,
    attack: &str,
    mut once: impl AsyncFnMut(&mut Siege) -> Result<Aftermath>,
    allowed_kib: u64,
) -> Result<()> {
    for _ in 0..rounds {
        siege.call().await?;
        let aftermath = once(&mut siege).await?;
        aftermath.tell(attack);
        aftermath.assert_bounded(allowed_kib);
    }
    Ok(())
}
