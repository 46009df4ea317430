//! The agent works on while the clock is set: streams, losses, queries, handshakes, and its end.

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use taskstats_proto::v1::watch_exits_response::Kind as Message;
use taskstats_proto::v1::{Scope, WatchExitsRequest};
use taskstats_tests::agent::{Agent, Launch};
use taskstats_tests::churn::{end_all, start_churn};
use taskstats_tests::client::connect;
use taskstats_tests::cpus;
use taskstats_tests::fields::Comparison;
use taskstats_tests::gap_ranges::{ExitRange, reported, sent};
use taskstats_tests::http2::{Flags, Frame, Kind, Raw};
use taskstats_tests::kernel::ReferenceListener;
use taskstats_tests::process;
use taskstats_tests::tls_fixture::node;
use taskstats_tests::watch::Watch;
use taskstats_tests::workload::Workload;
use tonic::transport::Channel;

use crate::certificates::Certificates;
use crate::clock::{Happened, STEPS, set_by, since_1970};
use crate::covered::Covered;
use crate::live;

/// Holds some hundred exits of a CPU, so that a pause of the agent loses others.
const RECEIVE_BUFFER: &str = "128KiB";
/// Exits on each CPU while the clock is set: more than that.
const EXITS: usize = 800;
/// The end must not wait for long.
const DRAIN: &str = "2s";
/// The exit code of an agent that cut something off.
const CUT_OFF: i32 = 1;
/// `SETTINGS_INITIAL_WINDOW_SIZE` of 0.
const NO_WINDOW: &[u8] = &[0, 4, 0, 0, 0, 0];
const GET_NODE: &str = "/taskstats.v1.TaskstatsService/GetNode";

/// The result.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Tried {
    /// The number of changes of the clock.
    pub(crate) steps: usize,
    /// Exits that the kernel sent meanwhile, all of which were reported.
    pub(crate) sent: u64,
    /// Those that were reported as lost.
    pub(crate) lost: u64,
}

/// An agent and its watchers.
struct Stage {
    agent: Agent,
    started: Happened,
    channel: Channel,
    reference: ReferenceListener,
    everything: Watch,
    /// Watches processes only, which end seldom.
    quiet: Watch,
    covered: Covered,
    certificates: Certificates,
    begin: Vec<u32>,
}

/// Sets the clock again and again.
pub(crate) async fn set_the_clock() -> Result<Tried> {
    let mut stage = Stage::build().await?;
    for (number, seconds) in STEPS.into_iter().enumerate() {
        stage.step(seconds).await.with_context(|| format!("step {number}, {seconds} s"))?;
    }
    stage.end().await.context("the end")
}

impl Stage {
    async fn build() -> Result<Self> {
        let certificates = Certificates::new()?;
        let mut covered = Covered::prepare()?;
        let agent = Launch::new()?
            .listen_privately()
            .arguments(certificates.flags())
            .arguments(["--receive-buffer", RECEIVE_BUFFER, "--drain-timeout", DRAIN])
            .start()
            .await?;
        let started = Happened::now();
        let channel = connect(&agent.url()).await?;
        covered.begin(&channel).await.context("delay accounting")?;
        let reference = ReferenceListener::open(&cpus::online()?)?;
        let mut everything = Watch::everything(&channel).await?;
        let processes =
            WatchExitsRequest { scope: Scope::Processes.into(), ..WatchExitsRequest::default() };
        let quiet = Watch::open(&connect(&agent.url()).await?, processes).await?;
        let begin = marks(&mut everything).await?;
        Ok(Self {
            agent,
            started,
            channel,
            reference,
            everything,
            quiet,
            covered,
            certificates,
            begin,
        })
    }

    async fn step(&mut self, seconds: i64) -> Result<()> {
        let cursor = self.everything.last_cursor()?;
        set_by(seconds)?;
        self.covered.ensure_right(&self.channel, &mut self.everything).await?;
        self.set_while_exits_flow(seconds).await.context("exits")?;
        self.set_while_the_agent_is_held(-seconds).await.context("an agent that is held")?;
        self.set_while_the_agent_is_held(seconds).await.context("an agent that is held")?;
        self.ensure_resumed(cursor).await.context("resuming")?;
        self.ensure_sane().await?;
        live::compare(&self.channel, &mut Comparison::default()).await.context("live")?;
        self.certificates.ensure_judged(&self.agent).await.context("certificates")?;
        self.heartbeat(seconds).await.context("heartbeats")
    }

    async fn set_while_exits_flow(&mut self, seconds: i64) -> Result<()> {
        let churn = start_churn(EXITS)?;
        set_by(-seconds)?;
        set_by(seconds)?;
        end_all(churn).await?;
        marks(&mut self.everything).await?;
        Ok(())
    }

    /// Exits that are lost, some by one clock and some by the other.
    async fn set_while_the_agent_is_held(&mut self, seconds: i64) -> Result<()> {
        let known = self.everything.losses().len();
        process::pause(self.agent.pid()?).await?;
        end_all(start_churn(EXITS)?).await?;
        set_by(seconds)?;
        process::continue_process(self.agent.pid()?)?;
        marks(&mut self.everything).await?;
        let reported = &self.everything.losses()[known..];
        ensure!(!reported.is_empty(), "nothing was lost");
        for lost in reported {
            let (first, last) = (lost.first_at.as_ref(), lost.last_at.as_ref());
            let first = since_1970(first.context("a loss without begin")?)?;
            let last = since_1970(last.context("a loss without end")?)?;
            ensure!(first <= last, "a loss that ends before it begins: {lost:?}");
        }
        Ok(())
    }

    /// Checks that a client that resumes receives the same as one that stayed.
    async fn ensure_resumed(&mut self, cursor: taskstats_proto::v1::Cursor) -> Result<()> {
        let (after, end) = (cursor.sequence, self.everything.sequence_check()?.position());
        let request =
            WatchExitsRequest { resume_after: Some(cursor), ..WatchExitsRequest::default() };
        let mut back = Watch::open(&connect(&self.agent.url()).await?, request).await?;
        while back.sequence_check()?.position() < end {
            back.next().await?.context("the resumed stream ended")?;
        }
        let mut reported = back.seen().iter();
        for event in self.everything.seen().iter().filter(|event| event.sequence > after) {
            ensure!(reported.next() == Some(event), "not received before: {event:?}");
        }
        Ok(())
    }

    /// Checks that the node's timestamps are in the past, and as old as the events.
    async fn ensure_sane(&self) -> Result<()> {
        let node = node(&self.channel).await?;
        self.started.ensure_reported(node.started_at.as_ref()).context("started_at")?;
        let since = node.delay_accounting_since.as_ref();
        self.covered.ensure_since(since).context("delay_accounting_since")
    }

    /// The quiet stream gives a sign of life in time, although the clock is set while it is silent.
    async fn heartbeat(&mut self, seconds: i64) -> Result<()> {
        let ended = Workload::run(&["exit", "0"]).await?;
        self.quiet.exit_of(ended.pid).await?;
        set_by(-seconds)?;
        loop {
            if let Message::Heartbeat(_) = self.quiet.next().await?.context("the stream ended")? {
                return set_by(seconds);
            }
        }
    }

    /// Compares what was reported with what was sent; sets the clock back while the agent ends and
    /// a peer delays it.
    async fn end(mut self) -> Result<Tried> {
        let end = marks(&mut self.everything).await?;
        let ranges = cpus::online()?.into_iter().zip(self.begin.into_iter().zip(end));
        let ranges: Vec<_> =
            ranges.map(|(cpu, (begin, end))| ExitRange { cpu, begin, end }).collect();
        let reported = reported(&self.everything, &ranges)?;
        let sent = sent(&self.reference.take()?, &ranges)?;
        ensure!(reported.total() == sent, "{sent} exits were sent, reported: {reported:?}");
        let stuck = unread(&self.agent.url()).await?;
        self.agent.signal(Signal::SIGTERM)?;
        self.agent.draining().await?;
        set_by(STEPS[1])?;
        let status = self.agent.ended().await?;
        set_by(-STEPS[1])?;
        drop(stuck);
        ensure!(status.code() == Some(CUT_OFF), "{status}: {}", self.agent.stderr()?);
        self.everything.end().await?;
        self.everything.sequence_check()?.ensure_counts_complete()?;
        ensure!(!self.agent.stderr()?.contains("panicked"), "{}", self.agent.stderr()?);
        Ok(Tried { steps: STEPS.len(), sent, lost: reported.lost })
    }
}

/// A mark on each CPU.
async fn marks(watch: &mut Watch) -> Result<Vec<u32>> {
    let mut pids = Vec::new();
    for cpu in cpus::online()? {
        pids.push(watch.settled_mark(cpu).await?);
    }
    Ok(pids)
}

/// A peer that makes a call and does not read the response.
async fn unread(url: &str) -> Result<Raw> {
    let mut raw = Raw::connected_with_settings(url, NO_WINDOW).await?;
    raw.begin(1, GET_NODE).await?;
    let message = Frame::new(Kind::Data, 1, &[0; 5]);
    let mut request = bytes::BytesMut::new();
    message.with(Flags::END_STREAM).put(&mut request);
    raw.exchange(&request).await?;
    Ok(raw)
}
