//! One exit stream after the other, each from where the last one was left.

use anyhow::{Context, Result, bail};
use taskstats_proto::v1::{Cursor, WatchExitsRequest, WatchStarted};
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::Channel;
use tonic::{Request, Status, Streaming};
use tonic_prost::ProstCodec;

use crate::deadline::within;
use crate::partial_decode::{Kind, Response};
use crate::selection::Selection;
use crate::stitched_stream::StitchedStream;

/// The path of the method.
const WATCH_EXITS: &str = "/taskstats.v1.TaskstatsService/WatchExits";

/// An open stream, stitched to the streams before it.
#[derive(Debug)]
pub struct Follower {
    selection: Selection,
    stream: Streaming<Response>,
    started: WatchStarted,
    stitched: StitchedStream,
    end: Option<Status>,
}

/// The state of a follower that has closed its stream.
#[derive(Debug, Clone)]
pub struct Detached {
    /// The selection that it follows.
    pub selection: Selection,
    /// The exits and gaps that it has received.
    pub stitched: StitchedStream,
}

impl Follower {
    /// Follows a selection from now on.
    ///
    /// # Errors
    ///
    /// The agent refuses; the error is the [`Status`].
    pub async fn open(channel: &Channel, selection: Selection) -> Result<Self> {
        let request = selection.request();
        Self::ask(channel, selection, request).await
    }

    /// Follows a selection from the position in `request`, which must be a request for that
    /// selection. If the cursor belongs to another run of the agent, the stream begins at the start
    /// of this run.
    ///
    /// # Errors
    ///
    /// As in [`Follower::open`].
    pub async fn ask(
        channel: &Channel,
        selection: Selection,
        request: WatchExitsRequest,
    ) -> Result<Self> {
        let wanted = request.resume_after.clone();
        let (started, stream) = open(channel, request).await?;
        let instance_id = started.instance_id.clone();
        let begin = match wanted {
            Some(wanted) if wanted.instance_id == instance_id => wanted,
            Some(_) => Cursor { instance_id, sequence: 0 },
            None => started.cursor.clone().context("a stream without a first cursor")?,
        };
        let stitched = StitchedStream::begin(begin);
        Ok(Self { selection, stream, started, stitched, end: None })
    }

    /// Returns the message that the stream began with.
    #[must_use]
    pub fn started(&self) -> &WatchStarted {
        &self.started
    }

    /// Returns the exits and gaps received so far.
    #[must_use]
    pub fn stitched(&self) -> &StitchedStream {
        &self.stitched
    }

    /// Returns the exits and gaps received so far, to discard some of them.
    pub fn stitched_mut(&mut self) -> &mut StitchedStream {
        &mut self.stitched
    }

    /// Returns the selection.
    #[must_use]
    pub fn selection(&self) -> &Selection {
        &self.selection
    }

    /// Reads one more message; false when the stream has ended.
    ///
    /// # Errors
    ///
    /// The message contradicts an earlier one.
    pub async fn next(&mut self) -> Result<bool> {
        let message = match within("another message", self.stream.message()).await? {
            Ok(Some(message)) => message,
            Ok(None) => return Ok(false),
            Err(status) => {
                self.end = Some(status);
                return Ok(false);
            }
        };
        self.stitched.follow(&message.kind.context("a message of no kind")?)?;
        Ok(true)
    }

    /// Reads to the end of the stream, and returns the status it ended with.
    ///
    /// # Errors
    ///
    /// The stream ended without one, or does not end.
    pub async fn end(&mut self) -> Result<Status> {
        while self.next().await? {}
        self.end.clone().context("the stream ended well")
    }

    /// Reads until the stream is complete beyond the exit with this sequence.
    ///
    /// # Errors
    ///
    /// The stream ended before.
    pub async fn beyond(&mut self, sequence: u64) -> Result<()> {
        while self.stitched.position() <= sequence {
            if !self.next().await? {
                bail!("the stream ended before exit {sequence}: {:?}", self.end);
            }
        }
        Ok(())
    }

    /// Reads until the exit that ended process `pid`, and returns its sequence.
    ///
    /// # Errors
    ///
    /// The stream ended before, or exits were lost meanwhile, of which it may have been one.
    pub async fn exit_of(&mut self, pid: u32) -> Result<u64> {
        let sequence = self.exit_or_loss(pid).await?;
        let overtaken =
            || format!("overtaken before the exit of {pid}: {:?}", self.stitched.gaps());
        sequence.with_context(overtaken)
    }

    /// Reads until the exit that ended process `pid`, and returns its sequence, or until exits were
    /// lost of which it may have been one.
    ///
    /// # Errors
    ///
    /// The stream ended before.
    pub async fn exit_or_loss(&mut self, pid: u32) -> Result<Option<u64>> {
        let (mut searched, gaps) = (0, self.stitched.gaps().len());
        loop {
            let mut unread = self.stitched.exits().iter().skip(searched);
            if let Some(exit) = unread.find(|exit| (exit.pid, exit.tgid) == (pid, pid)) {
                return Ok(Some(exit.sequence));
            }
            if self.stitched.gaps().len() > gaps {
                return Ok(None);
            }
            searched = self.stitched.exits().len();
            if !self.next().await? {
                bail!("the stream ended before the exit of {pid}: {:?}", self.end);
            }
        }
    }

    /// Ends the stream.
    #[must_use]
    pub fn leave(self) -> Detached {
        Detached { selection: self.selection, stitched: self.stitched }
    }
}

impl Detached {
    /// Returns a request that resumes after everything received.
    #[must_use]
    pub fn request(&self) -> WatchExitsRequest {
        let resume_after = Some(self.stitched.cursor());
        WatchExitsRequest { resume_after, ..self.selection.request() }
    }

    /// Opens a stream that resumes after everything received. A failure changes nothing.
    ///
    /// # Errors
    ///
    /// As in [`Follower::open`].
    pub async fn reopen(&self, channel: &Channel) -> Result<Reopened> {
        let (started, stream) = open(channel, self.request()).await?;
        Ok(Reopened { started, stream })
    }

    /// Resumes after everything received, in the same run of the agent.
    ///
    /// # Errors
    ///
    /// As in [`Follower::open`].
    pub async fn resume(self, channel: &Channel) -> Result<Follower> {
        let request = self.request();
        let Self { selection, mut stitched } = self;
        let (started, stream) = open(channel, request).await?;
        stitched.continued();
        Ok(Follower { selection, stream, started, stitched, end: None })
    }
}

/// A stream that resumes after a detached one, in the same run of the agent or in another.
#[derive(Debug)]
pub struct Reopened {
    started: WatchStarted,
    stream: Streaming<Response>,
}

impl Reopened {
    /// Continues to follow; also returns what was received from the run before, if this is another
    /// one.
    #[must_use]
    pub fn follow(self, detached: Detached) -> (Follower, Option<StitchedStream>) {
        let Self { started, stream } = self;
        let Detached { selection, mut stitched } = detached;
        let instance_id = started.instance_id.clone();
        let earlier = (stitched.instance() != instance_id).then(|| {
            let begin = StitchedStream::begin(Cursor { instance_id, sequence: 0 });
            std::mem::replace(&mut stitched, begin)
        });
        stitched.continued();
        (Follower { selection, stream, started, stitched, end: None }, earlier)
    }
}

async fn open(
    channel: &Channel,
    request: WatchExitsRequest,
) -> Result<(WatchStarted, Streaming<Response>)> {
    let mut grpc = Grpc::new(channel.clone());
    within("a channel that is ready", grpc.ready()).await??;
    let codec: ProstCodec<WatchExitsRequest, Response> = ProstCodec::default();
    let path = PathAndQuery::from_static(WATCH_EXITS);
    let call = grpc.server_streaming(Request::new(request), path, codec);
    let mut stream = within("a response to WatchExits", call).await??.into_inner();
    let first = within("the first message", stream.message()).await??;
    match first.and_then(|response| response.kind) {
        Some(Kind::Started(started)) => Ok((started, stream)),
        other => bail!("the stream began with {other:?}"),
    }
}
