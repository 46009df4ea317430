//! Certificates that are swapped all the time, under calls, streams and new connections.

use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use taskstats_tests::agent::Agent;
use taskstats_tests::caller::{Caller, Question};
use taskstats_tests::churn::end_all;
use taskstats_tests::client::{connect, connect_securely};
use taskstats_tests::follower::Follower;
use taskstats_tests::handshake::{Handshake, Version};
use taskstats_tests::machine_lock::MachineLock;
use taskstats_tests::process;
use taskstats_tests::selection::Selection;
use taskstats_tests::tls_fixture::{NAME, until_tls};
use taskstats_tests::workload::Workload;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tonic::transport::Channel;

use super::in_use;
use super::secret::{Edition, Secret};
use crate::followers;

/// The number of swaps.
const SWAPS: u64 = 1000;
/// Clients that call at full speed, each on a separate connection.
const CALLERS: usize = 8;
/// Clients that connect, see a certificate, and go, again and again.
const NEWCOMERS: usize = 2;
/// Streams, each on a separate connection.
const STREAMS: [Selection; 4] =
    [Selection::EVERYTHING, Selection::EVERYTHING, Selection::PROCESSES, Selection::THREADS];
/// Processes that end one after the other before a new one ends the next: enough for no pause.
const CHURN: &str = "200";
/// Threads for slow calls keep a socket each.
const SLOW_CALL_THREADS: usize = 4;

/// The agent's address, and the identity of clients.
struct Door {
    url: String,
    secret: Secret,
}

/// The load during the swaps, until it is stopped.
struct Traffic {
    callers: Vec<Caller>,
    followers: JoinSet<Result<Follower>>,
    newcomers: JoinSet<Result<u64>>,
    churn: JoinSet<Result<u64>>,
    end: watch::Sender<bool>,
}

/// During a thousand swaps no call on an open connection fails, every stream continues and is
/// complete, and each new connection sees a certificate of its time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_certificate_swaps_fail_no_call() -> Result<()> {
    let _lock = MachineLock::exclusive()?;
    let secret = Secret::new()?;
    let agent = Agent::start_with(secret.flags()).await?;
    let mut door = Door { url: agent.listening_on("tcp://")?, secret };
    let mut reference =
        Follower::open(&connect(&agent.url()).await?, Selection::EVERYTHING).await?;
    let open = door.connect().await?;
    let descriptors = process::descriptors(agent.pid()?)?;
    let traffic = Traffic::begin(&door).await?;
    for _ in 0..SWAPS {
        let name = door.secret.swap()?;
        in_use(&open, &name).await?;
        door.secret.edition().used();
        read_some(&mut reference).await?;
    }
    let mut followers = traffic.end(&mut reference).await?;
    followers::catch_up(&mut reference, &mut followers).await?;
    assert_eq!(
        followers::reconcile(reference.stitched(), &followers)?,
        0,
        "a loss without a count"
    );
    let tls = until_tls(&open, |_| true).await?;
    assert_eq!((tls.reloads, tls.failed_reloads), (SWAPS, 0), "{tls:?}");
    assert_eq!(tls.failed_handshakes, 0, "{tls:?}");
    drop(followers);
    process::closes_descriptors(agent.pid()?, descriptors + SLOW_CALL_THREADS).await
}

impl Door {
    async fn connect(&self) -> Result<Channel> {
        let fixture = &self.secret.fixture;
        connect_securely(&self.url, fixture.authority.pem(), Some(&fixture.client), NAME).await
    }

    fn handshake(&self) -> Result<Handshake> {
        let fixture = &self.secret.fixture;
        Handshake::new(Version::V1_3, fixture.authority.pem(), Some(&fixture.client))
    }
}

impl Traffic {
    async fn begin(door: &Door) -> Result<Self> {
        let (end, reported) = watch::channel(false);
        let mut callers = Vec::new();
        for question in Question::ALL.into_iter().cycle().take(CALLERS) {
            callers.push(Caller::asking(question, door.connect().await?).await?);
        }
        let mut followers = JoinSet::new();
        for selection in STREAMS {
            let follower = Follower::open(&door.connect().await?, selection).await?;
            followers.spawn(read_on(follower, reported.clone()));
        }
        let mut newcomers = JoinSet::new();
        for _ in 0..NEWCOMERS {
            let (handshake, edition) = (door.handshake()?, door.secret.edition());
            newcomers.spawn(keep_coming(door.url.clone(), handshake, edition, reported.clone()));
        }
        let mut churn = JoinSet::new();
        churn.spawn(keep_ending(reported));
        Ok(Self { callers, followers, newcomers, churn, end })
    }

    /// Ends all but the streams, none of which may have failed.
    async fn end(self, reference: &mut Follower) -> Result<Vec<Follower>> {
        let Self { callers, followers, newcomers, churn, end } = self;
        end.send(true)?;
        let mut answered = Vec::new();
        for caller in callers {
            answered.push(caller.stop().await?.to_string());
        }
        let newcomers: Vec<u64> = joined(newcomers).await?;
        let churned: Vec<u64> = joined(churn).await?;
        read_some(reference).await?;
        println!("{answered:#?}; connected {newcomers:?}; processes ended {churned:?}");
        joined(followers).await
    }
}

async fn joined<T: 'static>(tasks: JoinSet<Result<T>>) -> Result<Vec<T>> {
    tasks.join_all().await.into_iter().collect()
}

/// Reads a stream until it is stopped.
async fn read_on(mut follower: Follower, mut end: watch::Receiver<bool>) -> Result<Follower> {
    loop {
        tokio::select! {
            more = follower.next() => ensure!(more?, "a stream broke"),
            _reported = end.changed() => return Ok(follower),
        }
    }
}

/// Reads what has arrived, so that the history does not overtake the stream.
async fn read_some(follower: &mut Follower) -> Result<()> {
    loop {
        tokio::select! {
            biased;
            more = follower.next() => ensure!(more?, "a stream broke"),
            () = std::future::ready(()) => return Ok(()),
        }
    }
}

/// Connects repeatedly: the certificate is no older than the one in use before, and no newer than
/// the newest one after. Returns the number of connections.
async fn keep_coming(
    url: String,
    handshake: Handshake,
    edition: Arc<Edition>,
    end: watch::Receiver<bool>,
) -> Result<u64> {
    let mut count = 0;
    while !*end.borrow() {
        let oldest = edition.in_use();
        let stream = handshake.first_byte(&url).await?;
        let newest = edition.newest();
        let shown = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
        let number = edition.number(shown.context("an agent without certificate")?)?;
        ensure!(
            (oldest..=newest).contains(&number),
            "certificate {number} was shown while {oldest} to {newest} were in use"
        );
        count += 1;
    }
    Ok(count)
}

/// Has one process after the other end; returns how many.
async fn keep_ending(end: watch::Receiver<bool>) -> Result<u64> {
    let mut count = 0;
    while !*end.borrow() {
        end_all(vec![Workload::start(&["churn-processes", CHURN])?]).await?;
        count += CHURN.parse::<u64>()?;
    }
    Ok(count)
}
