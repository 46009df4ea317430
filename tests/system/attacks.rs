//! Peers that attack the agent over HTTP/2: each holds no more memory than is meant for it, leaves
//! nothing behind, and takes the service from nobody.

mod connections;
mod floods;
mod garbage;
mod handshakes;
mod uploads;

use anyhow::{Context, Result};
use taskstats_proto::v1::{GetNodeRequest, Limit};
use taskstats_tests::agent::Agent;
use taskstats_tests::caller::Caller;
use taskstats_tests::client::service;
use taskstats_tests::process::{self, Vitals};

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

/// An agent with a unix socket and a port, which attackers come by as root and from another address,
/// and a well-behaved caller, whose address is its own.
struct Siege {
    agent: Agent,
    urls: [String; 2],
    caller: Option<Caller>,
    before: Vitals,
}

/// What is seen when the attackers have gone.
struct Aftermath {
    answered: u64,
    before: Vitals,
    after: Vitals,
}

impl Siege {
    async fn begin(limits: &[&str]) -> Result<Self> {
        let arguments = [&["--insecure", "--listen", "tcp://127.0.0.1:0"], limits].concat();
        let agent = Agent::start_with(arguments).await?;
        let urls = [agent.listening_on("unix://")?, agent.listening_on("tcp://")?];
        for url in &urls {
            let mut caller = Caller::start(url).await?;
            caller.served(WARM_UP).await?;
            caller.stop().await?;
            // It opens what it reads from, and keeps it.
            service(url).await?.get_node(GetNodeRequest {}).await?;
        }
        process::rests(agent.pid()?).await?;
        let before = Vitals::begin(agent.pid()?)?;
        Ok(Self { agent, urls, caller: None, before })
    }

    /// Has the caller begin.
    async fn call(&mut self) -> Result<()> {
        let [_, port] = &self.urls;
        self.caller = Some(Caller::start(port).await?);
        Ok(())
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
        let [_, port] = &self.urls;
        let node = service(port).await?.get_node(GetNodeRequest {}).await?.into_inner();
        let counters = node.counters.context("no counters")?;
        let refused = counters.refused.iter().find(|refused| refused.limit() == limit);
        Ok(refused.map_or(0, |refused| refused.count))
    }

    /// Sees that every call was answered, that the agent rests although `attackers` are still there,
    /// and that it lets go of them when they go.
    async fn end<T>(&mut self, attackers: T) -> Result<Aftermath> {
        let answered = self.caller.take().context("nobody calls")?.stop().await?;
        let pid = self.agent.pid()?;
        process::rests(pid).await?;
        drop(attackers);
        // Slow calls that run at once ask on sockets of their own, which are kept.
        process::lets_go(pid, self.before.descriptors + SLOW_CALL_THREADS).await?;
        let after = Vitals::of(pid)?;
        let stderr = self.agent.stderr()?;
        assert!(!stderr.contains("panicked"), "{stderr}");
        Ok(Aftermath { answered, before: self.before, after })
    }
}

impl Aftermath {
    fn tell(&self, attack: &str) {
        let Self { answered, before, after } = self;
        println!("{attack}: {answered} calls answered; before: {before}; after: {after}");
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
    assert_bounded_with(&[], attack, once, allowed_kib).await
}

/// Does so with other limits than the agent has by itself.
async fn assert_bounded_with(
    limits: &[&str],
    attack: &str,
    mut once: impl AsyncFnMut(&mut Siege) -> Result<Aftermath>,
    allowed_kib: u64,
) -> Result<()> {
    let mut siege = Siege::begin(limits).await?;
    for _ in 0..ROUNDS {
        siege.call().await?;
        let aftermath = once(&mut siege).await?;
        aftermath.tell(attack);
        aftermath.assert_bounded(allowed_kib);
    }
    Ok(())
}
