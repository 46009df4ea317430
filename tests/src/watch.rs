//! One exit stream, read by a test.

use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail};
use taskstats_proto::v1::watch_exits_response::Kind;
use taskstats_proto::v1::{
    Cursor, ExitEvent, Lost, LostStage, Scope, WatchExitsRequest, WatchExitsResponse, WatchStarted,
};
use tonic::transport::Channel;
use tonic::{Status, Streaming};

use crate::client::Client;
use crate::deadline::within;
use crate::sequence_check::SequenceCheck;
use crate::workload::Workload;

/// The agent reports the losses of a CPU at most every 100 ms; the rest is for an agent that waits
/// for a CPU.
const LOSSES_ARE_REPORTED_WITHIN: Duration = Duration::from_millis(250);

/// A stream that has begun.
#[derive(Debug)]
pub struct Watch {
    stream: Streaming<WatchExitsResponse>,
    started: WatchStarted,
    sequence_check: Option<SequenceCheck>,
    seen: Vec<ExitEvent>,
    losses: Vec<Lost>,
    end: Option<Status>,
}

impl Watch {
    /// Opens a stream of everything, and waits until it has begun.
    ///
    /// # Errors
    ///
    /// The agent refuses.
    pub async fn everything(channel: &Channel) -> Result<Self> {
        Self::open(channel, WatchExitsRequest::default()).await
    }

    /// Opens a stream, and waits until it has begun.
    ///
    /// # Errors
    ///
    /// The agent refuses; the error is the [`Status`].
    pub async fn open(channel: &Channel, request: WatchExitsRequest) -> Result<Self> {
        let complete = request.cpumask.is_empty()
            && matches!(request.scope(), Scope::Unspecified | Scope::AllTasks);
        let resume_after = request.resume_after.clone();
        let mut client = Client::new(channel.clone());
        let call = within("a response to WatchExits", client.watch_exits(request)).await?;
        let mut stream = call?.into_inner();
        let first = within("the first message", stream.message()).await??;
        let started = match first.and_then(|response| response.kind) {
            Some(Kind::Started(started)) => started,
            other => bail!("the stream began with {other:?}"),
        };
        let open = || match &resume_after {
            None => SequenceCheck::open(&started),
            Some(cursor) => SequenceCheck::resume(&started, cursor),
        };
        let sequence_check = complete.then(open).transpose()?;
        Ok(Self {
            stream,
            started,
            sequence_check,
            seen: Vec::new(),
            losses: Vec::new(),
            end: None,
        })
    }

    /// Returns the message that the stream began with.
    #[must_use]
    pub fn started(&self) -> &WatchStarted {
        &self.started
    }

    /// Returns the checked sequence of a stream of all exits.
    ///
    /// # Errors
    ///
    /// The stream leaves something out, so there are none.
    pub fn sequence_check(&self) -> Result<&SequenceCheck> {
        self.sequence_check.as_ref().context("a stream of some exits cannot be checked")
    }

    /// Returns the cursor after everything that has been read of a stream of all exits.
    ///
    /// # Errors
    ///
    /// As in [`Watch::sequence_check`].
    pub fn last_cursor(&self) -> Result<Cursor> {
        let instance_id = self.started.instance_id.clone();
        Ok(Cursor { instance_id, sequence: self.sequence_check()?.position() })
    }

    /// Returns every exit that has been read, in order.
    #[must_use]
    pub fn seen(&self) -> &[ExitEvent] {
        &self.seen
    }

    /// Returns every loss that has been read, in order.
    #[must_use]
    pub fn losses(&self) -> &[Lost] {
        &self.losses
    }

    /// Reads one more message, and returns it; `None` when the stream has ended.
    ///
    /// # Errors
    ///
    /// The message contradicts an earlier one.
    pub async fn next(&mut self) -> Result<Option<Kind>> {
        let message = match within("another message", self.stream.message()).await? {
            Ok(Some(message)) => message,
            Ok(None) => return Ok(None),
            Err(status) => {
                self.end = Some(status);
                return Ok(None);
            }
        };
        let kind = message.kind.context("a message of no kind")?;
        if let Some(sequence_check) = &mut self.sequence_check {
            sequence_check.apply(&kind)?;
        }
        match &kind {
            Kind::Events(events) => self.seen.extend(events.events.iter().cloned()),
            Kind::Lost(lost) => self.losses.push(lost.clone()),
            Kind::Started(_) | Kind::Heartbeat(_) | Kind::Workloads(_) => {}
        }
        Ok(Some(kind))
    }

    /// Reads to the end of the stream, and returns the status it ended with.
    ///
    /// # Errors
    ///
    /// The stream ended without one, or does not end.
    pub async fn end(&mut self) -> Result<Status> {
        while self.next().await?.is_some() {}
        self.end.clone().context("the stream ended well")
    }

    /// Reads until the exit that ended process `pid`, unless it has been read already.
    ///
    /// # Errors
    ///
    /// The stream ended before.
    pub async fn exit_of(&mut self, pid: u32) -> Result<ExitEvent> {
        self.exit_of_task(pid, pid).await
    }

    /// Reads until the exit of task `pid` of process `tgid`, unless it has been read already. Under
    /// load the kernel reuses task ids within seconds, so one id alone is not enough.
    ///
    /// # Errors
    ///
    /// The stream ended before.
    pub async fn exit_of_task(&mut self, tgid: u32, pid: u32) -> Result<ExitEvent> {
        let mut searched = 0;
        loop {
            let mut unread = self.seen.iter().skip(searched);
            if let Some(event) = unread.find(|event| is_exit_of(event, tgid, pid)) {
                return Ok(event.clone());
            }
            searched = self.seen.len();
            if self.next().await?.is_none() {
                bail!("the stream ended before the exit of {pid}: {:?}", self.end);
            }
        }
    }

    /// Runs processes on `cpu` until the stream has the exit of one of them, and returns its id.
    ///
    /// # Errors
    ///
    /// The stream ended.
    pub async fn mark(&mut self, cpu: u32) -> Result<u32> {
        loop {
            let losses = self.losses.len();
            let pid = Workload::run(&["--cpu", &cpu.to_string(), "exit", "0"]).await?.pid;
            if self.has_or_may_have_lost(pid, cpu, losses).await? {
                return Ok(pid);
            }
        }
    }

    /// Makes marks until all drops before the first of them have been reported, and returns the
    /// last. The agent notices a drop at the latest with the next exit, and reports it within an
    /// interval.
    ///
    /// # Errors
    ///
    /// As in [`Watch::mark`].
    pub async fn settled_mark(&mut self, cpu: u32) -> Result<u32> {
        let first = self.mark(cpu).await?;
        let settled = self.taken_at(first)? + LOSSES_ARE_REPORTED_WITHIN;
        loop {
            let mark = self.mark(cpu).await?;
            if self.taken_at(mark)? > settled {
                // A loss that was due at the same time precedes this mark.
                return self.mark(cpu).await;
            }
        }
    }

    /// Returns the time at which the agent received the exit of a mark.
    fn taken_at(&self, mark: u32) -> Result<SystemTime> {
        let event = self.seen.iter().rfind(|event| is_exit_of(event, mark, mark));
        let taken = event.and_then(|event| event.received_at.as_ref()).context("no time")?;
        Ok(SystemTime::try_from(*taken)?)
    }

    async fn has_or_may_have_lost(&mut self, pid: u32, cpu: u32, known: usize) -> Result<bool> {
        let mut searched = self.seen.len();
        loop {
            if self.next().await?.is_none() {
                bail!("the stream ended before a mark: {:?}", self.end);
            }
            let mut unread = self.seen.iter().skip(searched);
            if unread.any(|event| is_exit_of(event, pid, pid)) {
                return Ok(true);
            }
            searched = self.seen.len();
            if self.losses.iter().skip(known).any(|lost| may_hide(lost, cpu)) {
                return Ok(false);
            }
        }
    }
}

/// Returns true if an exit is that of task `pid` of process `tgid`. Kernels report the latter since
/// taskstats version 12.
#[must_use]
pub fn is_exit_of(event: &ExitEvent, tgid: u32, pid: u32) -> bool {
    pid_of(event) == Some(pid) && tgid_of(event).is_none_or(|found| found == tgid)
}

/// Returns the id of the task that exited.
#[must_use]
pub fn pid_of(event: &ExitEvent) -> Option<u32> {
    event.task.as_ref()?.identity.as_ref()?.pid
}

/// Returns the id of the process that the task belonged to.
#[must_use]
pub fn tgid_of(event: &ExitEvent) -> Option<u32> {
    event.task.as_ref()?.identity.as_ref()?.tgid
}

fn may_hide(lost: &Lost, cpu: u32) -> bool {
    lost.stage() != LostStage::KernelSocket || lost.cpu.is_none_or(|lost_on| lost_on == cpu)
}
