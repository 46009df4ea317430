//! Peers that attack the agent over HTTP/2: each holds no more memory than is meant for it, leaves
//! nothing behind, and takes the service from nobody.

mod connections;
mod floods;
mod garbage;
mod handshakes;
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

/// Answers after which the agent has the memory that ordinary calls need.
const WARM_UP: u64 = 200;
/// Answers to each well-behaved caller while attackers only hold on.
const HELD: u64 = 200;
/// Times that an attack is made on one agent. What is not given back after each would add up to more
/// than is allowed; the allocator keeps some of what it was given, and uses it for the next.
const ROUNDS: usize = 2;
/// Threads for slow calls, which stay for some seconds after the last one.
const SLOW_CALL_THREADS: usize = 4;

/// Path of the cheapest call.
const GET_PID: &str = "/taskstats.v1.TaskstatsService/GetPid";
/// Path of the stream, which costs the agent most to open.
const WATCH_EXITS: &str = "/taskstats.v1.TaskstatsService/WatchExits";

/// Who well-behaved callers are where clients have certificates; attackers are somebody else.
const BYSTANDER: &str = "bystander.example";
/// A flag that an agent without TLS wants.
const INSECURE: &str = "--insecure";

/// What the port is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Port {
    /// Plain: callers are told apart by their addresses.
    Plain,
    /// With TLS both transports: attackers show a certificate that is good, and have a name.
    Mutual,
}

/// An agent in its sandbox, with a unix socket and a port, which attackers come by as root and as somebody
/// else, and a well-behaved caller, who is neither.
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

/// How a well-behaved caller comes by the port.
struct Bystander {
    url: String,
    /// With TLS: the CA that it trusts and what it shows.
    certificates: Option<(String, Pair)>,
}

/// What is seen when the attackers have gone.
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
            Port::Mutual => fixture.mutual_flags(),
        };
        let limits = limits.iter().map(|&word| word.to_owned());
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
        // The agent was started by root, and has given up what it does not need.
        ensure!(node.sandbox.is_some_and(|it| it.seccomp && it.no_new_privs), "no sandbox");
        let mut served_before = None;
        for channel in [connect(&agent.url()).await?, bystander.connect().await?] {
            // It opens what it reads from, and keeps it.
            tls_fixture::node(&channel).await?;
            let mut caller = Caller::asking(Question::Account, channel).await?;
            caller.served(WARM_UP).await?;
            served_before = Some(caller.stop().await?);
        }
        process::rests(agent.pid()?).await?;
        let before = Vitals::begin(agent.pid()?)?;
        let transports = [Transport::Plain(agent.url()), transport];
        let served_before = served_before.context("nobody called")?;
        let ticks = before.ticks;
        Ok(Self { agent, transports, bystander, caller: None, before, served_before, ticks })
    }

    /// Has the caller begin.
    async fn call(&mut self) -> Result<()> {
        let channel = self.bystander.connect().await?;
        self.ticks = Vitals::of(self.agent.pid()?)?.ticks;
        self.caller = Some(Caller::asking(Question::Account, channel).await?);
        Ok(())
    }

    /// How attackers come by the port.
    fn port(&self) -> &Transport {
        let [_, port] = &self.transports;
        port
    }

    /// Has the caller answered so often.
    async fn served(&mut self, calls: u64) -> Result<()> {
        self.caller.as_mut().context("nobody calls")?.served(calls).await
    }

    /// Has the caller served while the attackers hold on to what they have.
    async fn hold(&mut self) -> Result<()> {
        self.served(HELD).await
    }

    /// How often callers ran into a limit.
    async fn refused(&self, limit: Limit) -> Result<u64> {
        let counters = self.bystander.node().await?.counters.context("no counters")?;
        let refused = counters.refused.iter().find(|refused| refused.limit() == limit);
        Ok(refused.map_or(0, |refused| refused.count))
    }

    /// Sees that every call was answered, that the agent rests although `attackers` are still there,
    /// and that it lets go of them when they go.
    async fn end<T>(&mut self, attackers: T) -> Result<Aftermath> {
        let served = self.caller.take().context("nobody calls")?.stop().await?;
        let pid = self.agent.pid()?;
        process::rests(pid).await?;
        drop(attackers);
        // Slow calls that run at once ask on sockets of their own, which are kept.
        process::lets_go(pid, self.before.descriptors + SLOW_CALL_THREADS).await?;
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

/// Makes the same attack on one agent again and again, and sees each time that no more memory was ever
/// taken than one of them is allowed.
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
